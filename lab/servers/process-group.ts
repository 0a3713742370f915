import { execa } from 'execa';

export type ProcessGroup = ReturnType<typeof spawnGroup>;

/** Starts a program with a process group of its own, which gets SIGTERM when this process dies, in whatever way. */
export function spawnGroup(command: readonly string[], env: Readonly<Record<string, string>>) {
  return execa('setpriv', ['--pdeathsig', 'TERM', '--', ...command], {
    env,
    extendEnv: false,
    stdin: 'ignore',
    all: true,
    buffer: false,
    reject: false,
    detached: true,
    cleanup: true,
  });
}

export function signalGroup(group: ProcessGroup, name: NodeJS.Signals): void {
  try {
    if (group.pid !== undefined) process.kill(-group.pid, name);
  } catch {
    // It has ended already.
  }
}
