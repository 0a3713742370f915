import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { runsOn, workerArchitecture } from '#lib/architecture.ts';
import { exec } from '#lib/exec.ts';
import { startEmulation } from '#lib/guest/host/emulation.ts';
import { type HandJob, type HandMeasurement, installInChroot, measureByHand } from '../by-hand.ts';

/** All that a member of an archive can have. */
const everything = ['--numeric-owner', '--xattrs', '--xattrs-include=*', '--acls'];

/** A process in whose namespaces programs of another processor run, as with binfmt_misc of a machine. */
export interface Emulation extends AsyncDisposable {
  /** Words before a command that run it there; none where this machine needs no emulator. */
  readonly entering: readonly string[];
}

export async function openEmulation(architecture: string): Promise<Emulation> {
  if (runsOn(workerArchitecture, architecture)) return { entering: [], [Symbol.asyncDispose]: async () => undefined };
  const holderId = await startEmulation(process.pid, 0, architecture);
  return {
    entering: ['nsenter', '--target', String(holderId), '--user', '--mount', '--setuid=0', '--setgid=0', '--'],
    async [Symbol.asyncDispose]() {
      process.kill(holderId, 'SIGKILL');
    },
  };
}

/** Everything is unpacked, the packages are installed in a chroot, and all of it is packed again. */
export async function rebuildArchiveByHand(job: HandJob, { entering }: Emulation): Promise<HandMeasurement> {
  const { basePath, signal } = job;
  return await measureByHand(job, async (place, watch) => {
    const [root, output] = [join(place, 'root'), join(place, 'output.tar.gz')];
    watch.begin('tar -xz');
    await mkdir(root);
    await exec('tar', ['--extract', '--gzip', '--file', basePath, ...everything, '--directory', root], { signal });
    watch.begin('apt in a chroot');
    await installInChroot(root, job, entering);
    watch.begin('tar -cz');
    await exec('tar', ['--create', '--gzip', '--file', output, ...everything, '--directory', root, '.'], { signal });
  });
}
