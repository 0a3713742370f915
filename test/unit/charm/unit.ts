import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import * as assert from 'uvu/assert';
import { Machine, machineTools } from './machine.ts';
import { hookTools, Model } from './model.ts';
import { type Call, installTools } from './tool-client.ts';

/** A unit of the charm: the real `dispatch` in a folder of its own, with a model and a machine that are not real. */

const repository = join(import.meta.dirname, '../../..');
const systemd = join(repository, 'packaging/systemd');

export interface Unit extends AsyncDisposable {
  readonly model: Model;
  readonly machine: Machine;
  /** Calls of the last hook or action. */
  calls: Call[];
  readonly port: number;
  /** Folder of the charm. */
  readonly charm: string;
  /** Runs a hook, which must end well. */
  hook(name: string, variables?: Readonly<Record<string, string>>): Promise<void>;
  /** Runs a hook, and gives back its exit code and what it has written. */
  tryHook(
    name: string,
    variables?: Readonly<Record<string, string>>,
  ): Promise<{ exitCode: number | null; errors: string }>;
  action(name: string, parameters?: Readonly<Record<string, unknown>>): Promise<void>;
  /** The path of a file of the machine. */
  path(path: string): string;
  /** Every file of the machine with its mode and its text. */
  files(): Record<string, string>;
}

/**
 * Folder of all units of this process, one after the other. Node keeps the charm's code compiled, by the paths of its
 * files, so that hooks start faster.
 */
const folder = mkdtempSync(join(tmpdir(), 'charm-unit-'));
const [charm, root, tools] = ['charm', 'root', 'tools'].map((name) => join(folder, name)) as [string, string, string];
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
packCharm();
let isTaken = false;

/** A unit before its first hook, with a free port. There is one at a time. */
export async function makeUnit(): Promise<Unit> {
  assert.not.ok(isTaken, 'the unit before was disposed of');
  isTaken = true;
  const model = new Model();
  const machine = new Machine(root);
  const port = await freePort();
  model.options.port = port;
  packProgram();
  mkdirSync(root);
  const unit: Unit = {
    model,
    machine,
    port,
    charm,
    calls: [],
    path: (path) => join(root, path),
    files: () => filesBelow(root),
    async tryHook(name, variables = {}) {
      return await dispatch({ JUJU_DISPATCH_PATH: `hooks/${name}`, JUJU_HOOK_NAME: name, ...variables });
    },
    async hook(name, variables = {}) {
      const { exitCode, errors } = await unit.tryHook(name, variables);
      assert.is(exitCode, 0, `${name}: ${errors}`);
    },
    async action(name, parameters = {}) {
      Object.assign(model, { parameters, results: {}, failure: null });
      const { exitCode, errors } = await dispatch({
        JUJU_DISPATCH_PATH: `actions/${name}`,
        JUJU_HOOK_NAME: '',
        JUJU_ACTION_NAME: name,
      });
      assert.is(exitCode, 0, `${name}: ${errors}`);
    },
    async [Symbol.asyncDispose]() {
      await machine.stop();
      await new Promise((resolve) => server.close(resolve));
      for (const path of [root, tools]) rmSync(path, { recursive: true, force: true });
      isTaken = false;
    },
  };
  const server = await installTools(tools, [...hookTools, ...machineTools], async (call) => {
    unit.calls.push(call);
    return machineTools.includes(call.tool) ? await machine.answer(call) : model.answer(call);
  });

  async function dispatch(variables: Readonly<Record<string, string>>) {
    unit.calls = [];
    model.log.length = 0;
    const child = spawn(join(charm, 'dispatch'), [], {
      cwd: '/',
      env: {
        PATH: `${tools}:/usr/bin:/bin`,
        NODE_COMPILE_CACHE: join(folder, 'cache'),
        JUJU_UNIT_NAME: model.unit,
        ...variables,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output = Promise.all([text(child.stdout), text(child.stderr)]);
    const exitCode = await new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
    model.end(exitCode);
    const errors = (await output).join('');
    const shown = [
      ...unit.calls.flatMap(({ words }) => words),
      ...Object.values(model.results),
      errors,
      model.status.message,
    ];
    for (const secret of model.secretTexts()) {
      assert.not.ok(
        shown.some((one) => one.includes(secret)),
        `the secret ${secret} is shown`,
      );
      assert.not.ok(
        shown.some((one) => one.includes(encodeURIComponent(secret))),
        `the secret ${secret} is shown`,
      );
    }
    return { exitCode, errors };
  }
  return unit;
}

/** The tree of a packed charm, without its program. */
function packCharm(): void {
  cpSync(join(repository, 'charm'), charm, { recursive: true });
  writeFileSync(join(charm, 'src/root.ts'), `export const root: string = ${JSON.stringify(root)};\n`);
  write('node/bin/node', `#!/bin/sh\nexec '${process.execPath}' "$@"\n`, 0o755);
}

function write(path: string, content: string, mode = 0o644): void {
  mkdirSync(join(charm, path, '..'), { recursive: true });
  writeFileSync(join(charm, path), content, { mode });
}

/** A small program in the charm. */
function packProgram(): void {
  rmSync(join(charm, 'program'), { recursive: true, force: true });
  const unitFile = (name: string) =>
    readFileSync(join(systemd, name), 'utf8').replaceAll('@PREFIX@', '/opt/imagebuilder/current');
  write('program/lib/imagebuilder/package.json', '{ "version": "1.2.3" }');
  write('program/lib/imagebuilder/bin/imagebuilder', '#!/bin/sh\n', 0o755);
  write('program/lib/imagebuilder/host-guest.conf', unitFile('host-guest.conf'));
  write('program/lib/imagebuilder/share-kernels', '#!/bin/sh\n', 0o755);
  write('program/lib/systemd/system/imagebuilder.service', unitFile('imagebuilder.service'));
  write('program/lib/sysusers.d/imagebuilder.conf', unitFile('sysusers.conf'));
  write('program/share/doc/imagebuilder/monitoring/dashboard.json', '{"title":"Image Builder"}');
}

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function filesBelow(root: string): Record<string, string> {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    entries.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(root.length), `${(statSync(path).mode & 0o7777).toString(8)} ${readFileSync(path, 'utf8')}`];
    }),
  );
}
