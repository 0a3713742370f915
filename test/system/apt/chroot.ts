import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { exec } from '#lib/exec.ts';
import type { GuestBind, GuestSession } from '#lib/guest/guest.ts';
import { lock } from '#lib/lock.ts';
import { distributionSources, readAptSources, readRelease } from '../../../lab/images/apt-sources.ts';

/**
 * A small real system of this machine's own release, and a session that runs scripts in it by chroot, so that apt is
 * tested against its real self without an image around it. Needs root.
 */

const cacheDirectory = join(import.meta.dirname, '../../../.cache/apt-chroot');

/** Path of a tar of a minimal system with apt in it, made once by mmdebstrap from the machine's own mirror. */
export async function minimalSystem(): Promise<{ readonly tar: string; readonly series: string }> {
  const release = await readRelease();
  const lines = distributionSources(await readAptSources(), release).map(({ uri, suite, components, signedBy }) => {
    const option = signedBy?.startsWith('/') === true ? `[signed-by=${signedBy}] ` : '';
    return `deb ${option}${uri} ${suite} ${components.join(' ')}`;
  });
  const key = createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 16);
  const tar = join(cacheDirectory, `${release.codename}-${key}.tar`);
  await using _ = await lock(`${tar}.lock`);
  const made = await stat(tar).catch(() => null);
  if (made === null) {
    await mkdir(cacheDirectory, { recursive: true });
    const fresh = `${tar}.new`;
    const include = '--include=ca-certificates,perl-base';
    await exec('mmdebstrap', ['--variant=apt', include, '--format=tar', release.codename, fresh, ...lines], {
      env: { TMPDIR: tmpdir() },
    });
    await rename(fresh, tar);
  }
  return { tar, series: release.codename };
}

export interface Chroot extends AsyncDisposable {
  readonly root: string;
  /** A folder beside the root for the other files of a test; removed with it. */
  readonly directory: string;
  session(options?: { readonly binds?: readonly GuestBind[]; readonly signal?: AbortSignal }): GuestSession;
}

/** Unpacks the system into a temporary folder. */
export async function openChroot(tar: string): Promise<Chroot> {
  const directory = await mkdtemp(join(tmpdir(), 'apt-chroot-'));
  const root = join(directory, 'root');
  await mkdir(root);
  await exec('tar', ['--extract', '--numeric-owner', '--file', tar, '--directory', root]);
  await exec('cp', ['--dereference', '/etc/resolv.conf', join(root, 'etc/resolv.conf')]);
  await writeFile(join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  return {
    root,
    directory,
    session: ({ binds = [], signal } = {}) => ({
      kind: 'host',
      network: true,
      mounted: ['/'],
      notMounted: [],
      close: async () => {},
      async [Symbol.asyncDispose]() {},
      run: (script) => runInChroot(root, binds, script, signal),
    }),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

/** The source of a bind may also be `tmpfs:SIZE`. Mounts live in a namespace of the run alone and end with it, and so does every process. */
const enter = `set -e
root=$1 job=$2
shift 2
while [ "$1" != -- ]; do
  case $1 in
    tmpfs:*) mount -t tmpfs -o "size=\${1#tmpfs:}" tmpfs "$root$2" ;;
    *) mount --bind "$1" "$root$2" ;;
  esac
  shift 2
done
shift
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for node in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
  mknod -m 666 "$root/dev/\${node% *}" c 1 "\${node#* }"
done
ln -s /proc/self/fd "$root/dev/fd"
exec chroot "$root" /bin/sh "$job/script" "$@"
`;

async function runInChroot(
  root: string,
  binds: readonly GuestBind[],
  script: Parameters<GuestSession['run']>[0],
  signal: AbortSignal | undefined,
): ReturnType<GuestSession['run']> {
  const job = await mkdtemp(join(root, 'run/job-'));
  await chmod(job, 0o755);
  const inside = job.slice(root.length);
  try {
    const files = { ...script.files, script: script.text };
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(job, name)), { recursive: true });
      await writeFile(join(job, name), content, { mode: 0o644 });
    }
    if (script.folder !== undefined) await cp(script.folder, join(job, 'folder'), { recursive: true });
    const mounts = binds.flatMap(({ source, target }) => [source, target]);
    const namespaces = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--ipc', '--uts'];
    const { stdout, stderr } = await exec(
      'unshare',
      [...namespaces, 'sh', '-c', enter, 'sh', root, inside, ...mounts, '--', ...(script.arguments ?? [])],
      {
        env: { ...script.env, JOB: inside, HOME: '/root' },
        ...(signal === undefined ? {} : { signal }),
        ...(script.onLine === undefined ? {} : { onLine: script.onLine }),
        ...(script.onStatusLine === undefined ? {} : { onStatusLine: script.onStatusLine }),
        ...(script.timeoutMs === undefined ? {} : { timeoutMs: script.timeoutMs }),
      },
    );
    return { stdout, stderr };
  } finally {
    await rm(job, { recursive: true, force: true });
  }
}
