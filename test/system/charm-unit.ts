import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { type SystemdMachine, startSystemdMachine } from '../../lab/servers/systemd-machine.ts';
import { hookTools, Model } from '../unit/charm/model.ts';
import { installTools } from '../unit/charm/tool-client.ts';

/** A unit of the packed charm on a machine with a real systemd. Of Juju, only the hook tools are not real. */
export interface InstalledUnit extends AsyncDisposable {
  readonly model: Model;
  readonly machine: SystemdMachine;
  /** Folder of the charm, here. */
  readonly charm: string;
  /** Folder of the storage, here. */
  readonly data: string;
  /** Runs a hook, which must end well. */
  hook(name: string, variables?: Readonly<Record<string, string>>): Promise<void>;
  /** Runs an action to its end; its results are in the model. */
  action(name: string, parameters?: Readonly<Record<string, unknown>>): Promise<void>;
}

const charmFolder = '/var/lib/juju/agents/unit-imagebuilder-0/charm';

/** Unpacks the charm and starts the machine, with a storage that is mounted where the charm's data lie. */
export async function startUnit(packedCharm: string): Promise<InstalledUnit> {
  const stack = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-unit-'));
  stack.defer(() => rm(directory, { recursive: true }));
  const [charm, data] = [join(directory, 'charm'), join(directory, 'data')];
  for (const folder of [charm, data]) await mkdir(folder);
  await exec('unzip', ['-q', packedCharm, '-d', charm]);

  const model = new Model();
  model.address = '127.0.0.1';
  model.storages.add('data/0');
  // At the same path there and here: the tools' socket, and the files with which the charm hands secrets to them.
  const shared = join(directory, 'shared');
  const server = await installTools(shared, hookTools, (call) => model.answer(call));
  stack.defer(() => new Promise((resolve) => server.close(() => resolve())));
  const binds = { [charmFolder]: charm, '/var/lib/imagebuilder': data, [shared]: shared };
  const machine = stack.use(await startSystemdMachine({ directory: join(directory, 'machine'), binds }));
  // As on Ubuntu, only root reads the kernels; and all that the charm asks of apt is there, without a network.
  await machine.run(['sh', '-c', 'chmod 0600 /boot/vmlinuz-*; rm -rf /etc/apt/sources.list /etc/apt/sources.list.d']);

  async function dispatch(variables: Readonly<Record<string, string>>): Promise<void> {
    model.log.length = 0;
    const all = {
      PATH: `${shared}:/usr/sbin:/usr/bin:/sbin:/bin`,
      LANG: 'C.UTF-8',
      TMPDIR: shared,
      JUJU_UNIT_NAME: model.unit,
      ...variables,
    };
    const words = Object.entries(all).map(([name, value]) => `${name}=${value}`);
    const command = ['env', '--ignore-environment', `--chdir=${charmFolder}`, ...words, `${charmFolder}/dispatch`];
    const { exitCode, stdout, stderr } = await machine.run(command, { okExitCodes: [0, 1] });
    model.end(exitCode);
    assert.is(exitCode, 0, `${variables.JUJU_DISPATCH_PATH}: ${stdout}${stderr}`);
  }

  const owned = stack.move();
  return {
    model,
    machine,
    charm,
    data,
    hook: (name, variables = {}) =>
      dispatch({ JUJU_DISPATCH_PATH: `hooks/${name}`, JUJU_HOOK_NAME: name, ...variables }),
    action: (name, parameters = {}) => {
      Object.assign(model, { parameters, results: {}, failure: null });
      return dispatch({ JUJU_DISPATCH_PATH: `actions/${name}`, JUJU_HOOK_NAME: '', JUJU_ACTION_NAME: name });
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
