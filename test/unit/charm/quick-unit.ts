import childProcess, { type SpawnSyncOptions } from 'node:child_process';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { charm, machineFiles, root, takeFolders } from './folders.ts';
import { type Launch, Machine, machineTools } from './machine.ts';
import { hookTools, Model } from './model.ts';
import type { Answer, Call } from './tool-client.ts';
import { assertNoSecretShown, freePort, type Unit } from './unit.ts';

/**
 * A unit whose hooks run in this process: some milliseconds each, where `dispatch` and its tools need half a second. The
 * charm's program is the same, but for the processes.
 */

type Handle = typeof import('../../../charm/src/handle.ts').handle;
type ReadHook = typeof import('../../../charm/src/hook.ts').readHook;

const { handle } = (await import(join(charm, 'src/handle.ts'))) as { handle: Handle };
const { readHook } = (await import(join(charm, 'src/hook.ts'))) as { readHook: ReadHook };
const port = await freePort();

/** Answers the tools of Juju and of the machine; null between hooks. */
let answer: ((call: Call) => Answer) | null = null;

const { spawnSync } = childProcess;
childProcess.spawnSync = ((program: string, words: readonly string[], options: SpawnSyncOptions) => {
  if (![...hookTools, ...machineTools].includes(program)) return spawnSync(program, words, options);
  assert.ok(answer !== null, `${program} runs in a hook`);
  const environment = options.env as Record<string, string>;
  const { exitCode, ...texts } = answer({ tool: program, words, input: String(options.input ?? ''), environment });
  return { status: exitCode, signal: null, error: undefined, ...texts };
}) as typeof spawnSync;
syncBuiltinESMExports();

/** A unit before its first hook. There is one at a time. `launch` starts another service than the machine's own. */
export function makeQuickUnit(launch?: Launch): Unit {
  const folders = takeFolders();
  const model = new Model();
  const machine = new Machine(root, launch);
  model.options.port = port;

  async function run(variables: Readonly<Record<string, string>>) {
    unit.calls = [];
    model.log.length = 0;
    answer = (call) => {
      unit.calls.push(call);
      return machineTools.includes(call.tool) ? machine.answer(call) : model.answer(call);
    };
    let errors = '';
    try {
      await handle(readHook({ JUJU_UNIT_NAME: model.unit, ...variables }));
    } catch (error) {
      errors = error instanceof Error ? (error.stack ?? '') : String(error);
    }
    answer = null;
    const exitCode = errors === '' ? 0 : 1;
    model.end(exitCode);
    assertNoSecretShown(unit, errors);
    return { exitCode, errors };
  }

  const unit: Unit = {
    model,
    machine,
    port,
    charm,
    calls: [],
    path: (path) => join(root, path),
    files: machineFiles,
    tryHook: (name, variables = {}) => run({ JUJU_DISPATCH_PATH: `hooks/${name}`, ...variables }),
    async hook(name, variables = {}) {
      const { exitCode, errors } = await unit.tryHook(name, variables);
      assert.is(exitCode, 0, `${name}: ${errors}`);
    },
    async action(name, parameters = {}) {
      Object.assign(model, { parameters, results: {}, failure: null });
      const { exitCode, errors } = await run({ JUJU_DISPATCH_PATH: `actions/${name}` });
      assert.is(exitCode, 0, `${name}: ${errors}`);
    },
    async [Symbol.asyncDispose]() {
      await machine.stop();
      folders[Symbol.dispose]();
    },
  };
  return unit;
}
