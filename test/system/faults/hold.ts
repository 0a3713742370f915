import fileSystem from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { connect } from 'node:net';

/**
 * Loaded into a worker before its own code (`node --import`): makes it wait at the gate whenever it is about to touch a
 * file whose path matches HOLD_AT, so that a test can have its fault in a step that otherwise takes milliseconds.
 */

const at = new RegExp(process.env.HOLD_AT ?? '^$');
const port = Number(process.env.HOLD_PORT);

async function pass(path: unknown): Promise<void> {
  if (!at.test(String(path))) return;
  const socket = connect(port, '127.0.0.1').resume();
  await new Promise((resolve) => socket.once('close', resolve).on('error', () => {}));
}

const { open, readFile } = fileSystem;
Object.assign(fileSystem, {
  open: async (...args: Parameters<typeof open>) => {
    await pass(args[0]);
    return await open(...args);
  },
  readFile: async (...args: Parameters<typeof readFile>) => {
    await pass(args[0]);
    return await readFile(...args);
  },
});
syncBuiltinESMExports();
