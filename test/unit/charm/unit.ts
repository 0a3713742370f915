import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import * as assert from 'uvu/assert';
import { charm, folder, machineFiles, root, takeFolders } from './folders.ts';
import { Machine, machineTools } from './machine.ts';
import { hookTools, Model } from './model.ts';
import { type Call, installTools } from './tool-client.ts';

/** A unit of the charm: the real `dispatch` in a folder of its own, with a model and a machine that are not real. */

const tools = join(folder, 'tools');

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

/** A unit before its first hook, with a free port. There is one at a time. */
export async function makeUnit(): Promise<Unit> {
  const folders = takeFolders();
  const model = new Model();
  const machine = new Machine(root);
  const port = await freePort();
  model.options.port = port;
  const unit: Unit = {
    model,
    machine,
    port,
    charm,
    calls: [],
    path: (path) => join(root, path),
    files: machineFiles,
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
      rmSync(tools, { recursive: true, force: true });
      folders[Symbol.dispose]();
    },
  };
  const server = await installTools(tools, [...hookTools, ...machineTools], (call) => {
    unit.calls.push(call);
    return machineTools.includes(call.tool) ? machine.answer(call) : model.answer(call);
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
    assertNoSecretShown(unit, errors);
    return { exitCode, errors };
  }
  return unit;
}

/** No secret stands in an argument, a result, a status or an error of the last hook. */
export function assertNoSecretShown({ calls, model }: Unit, errors: string): void {
  const shown = [...calls.flatMap(({ words }) => words), ...Object.values(model.results), errors, model.status.message];
  for (const secret of model.secretTexts()) {
    for (const form of [secret, encodeURIComponent(secret)]) {
      assert.not.ok(
        shown.some((one) => one.includes(form)),
        `the secret ${secret} is shown`,
      );
    }
  }
}

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
