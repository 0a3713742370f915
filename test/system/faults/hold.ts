import childProcess from 'node:child_process';
import fileSystem from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { connect } from 'node:net';

/**
 * Loaded into a worker before its own code (`node --import`): makes it wait at the gate whenever it is about to touch a
 * file whose path matches HOLD_AT, so that a test can have its fault in a step that otherwise takes milliseconds. A path
 * that is about to be removed is matched with ` removed` after it, and one that a file is about to be moved to with
 * ` moved`. A program of the name STOPPED_PROGRAM stops itself as
 * soon as it has been started.
 */

const at = new RegExp(process.env.HOLD_AT ?? '^$');
const port = Number(process.env.HOLD_PORT);

async function pass(path: unknown): Promise<void> {
  if (!at.test(String(path))) return;
  const socket = connect(port, '127.0.0.1').resume();
  await new Promise((resolve) => socket.once('close', resolve).on('error', () => {}));
}

const { open, readFile, rename, rm } = fileSystem;
Object.assign(fileSystem, {
  open: async (...args: Parameters<typeof open>) => {
    await pass(args[0]);
    return await open(...args);
  },
  readFile: async (...args: Parameters<typeof readFile>) => {
    await pass(args[0]);
    return await readFile(...args);
  },
  rename: async (...args: Parameters<typeof rename>) => {
    await pass(`${args[1]} moved`);
    await rename(...args);
  },
  rm: async (...args: Parameters<typeof rm>) => {
    await pass(`${args[0]} removed`);
    await rm(...args);
  },
});

const { spawn } = childProcess;
const stopped = process.env.STOPPED_PROGRAM;
Object.assign(childProcess, {
  spawn: (program: string, args: readonly string[], options: childProcess.SpawnOptions) => {
    // Programs that set limits and users stand before it, each with an end of its own options.
    const index = args.findIndex((word, at) => word === stopped && args[at - 1] === '--');
    if (index < 0) return spawn(program, args, options);
    const stopping = ['sh', '-c', 'kill -STOP $$; exec "$@"', 'stopped'];
    return spawn(program, [...args.slice(0, index), ...stopping, ...args.slice(index)], options);
  },
});
syncBuiltinESMExports();
