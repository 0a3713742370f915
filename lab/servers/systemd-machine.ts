import { constants } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ExecError, type ExecResult, exec } from '#lib/exec.ts';
import { findTool } from '#lib/tools.ts';
import { signalGroup, spawnGroup } from './process-group.ts';

/**
 * A machine with a real systemd, without a vm: systemd-nspawn over an overlay of this machine's own files. It has the
 * network of this machine, its loop devices and all capabilities, and none of its services. Changes are in memory, and
 * gone in the end.
 */
export interface SystemdMachine extends AsyncDisposable {
  /** Runs a command in it, as root. Throws ExecError. */
  run(command: readonly string[], options?: { readonly okExitCodes?: readonly number[] }): Promise<ExecResult>;
}

export interface SystemdMachineOptions {
  /** Folder for what it needs here. */
  readonly directory: string;
  /** Folders of this machine, by the paths at which they are mounted in it. */
  readonly binds: Readonly<Record<string, string>>;
}

const startMs = 120_000;
const endMs = 60_000;

/** The reason why this machine cannot have one; null where it can. */
export async function whyNoSystemdMachine(): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'systemd-nspawn needs root';
  if ((await findTool('systemd-nspawn')) === null) return 'the Debian package systemd-container is not installed';
  const systemd = await access('/lib/systemd/systemd', constants.X_OK).then(
    () => true,
    () => false,
  );
  if (!systemd) return 'this machine has no systemd to start';
  const mounts = 'mount -t tmpfs t /mnt && mkdir /mnt/a /mnt/b /mnt/c && mount -t cgroup2 none /mnt/c &&';
  const overlay = 'mount -t overlay -o lowerdir=/,upperdir=/mnt/a,workdir=/mnt/b o /mnt/c';
  try {
    await exec('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', `${mounts} ${overlay}`]);
    return null;
  } catch (error) {
    if (error instanceof ExecError) return `the machine cannot be laid over this one: ${error.message}`;
    throw error;
  }
}

/**
 * Services that others have enabled do not start: only what systemd itself needs does. SIGTERM, which comes when the process
 * of startSystemdMachine dies, kills all that runs in the machine: systemd-nspawn alone would leave it running.
 */
const machineScript = `
  set -eu
  name=$1
  shift
  mount -t tmpfs -o size=2g none /mnt
  mkdir -p /mnt/root /mnt/work /mnt/upper/etc/systemd/system /mnt/upper/usr/sbin
  cat > /mnt/upper/etc/systemd/system/machine.target <<END
[Unit]
Requires=sysinit.target
After=sysinit.target
AllowIsolate=yes
END
  ln -s /dev/null /mnt/upper/etc/systemd/system/network-online.target
  printf '#!/bin/sh\\nexit 0\\n' > /mnt/upper/usr/sbin/policy-rc.d
  chmod 755 /mnt/upper/usr/sbin/policy-rc.d
  mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work none /mnt/root
  umount -l /sys/fs/cgroup
  mount -t cgroup2 none /sys/fs/cgroup
  group=/sys/fs/cgroup/$name
  mkdir "$group"
  ended=
  trap 'ended=1; echo 1 > "$group/cgroup.kill"' TERM
  (
    echo 0 > "$group/cgroup.procs"
    exec systemd-nspawn --quiet --directory=/mnt/root --keep-unit --register=no --capability=all --machine="$name" "$@" \\
      --boot systemd.unit=machine.target
  ) &
  nspawn=$!
  code=0
  # A signal ends the waiting, and may have come before there was anything to kill.
  while kill -0 $nspawn 2> /dev/null; do
    test -z "$ended" || echo 1 > "$group/cgroup.kill"
    code=0
    wait $nspawn || code=$?
  done
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    find "$group" -depth -type d -exec rmdir {} + 2> /dev/null && break
    sleep 0.1
  done
  exit $code
`;

/** Devices that systemd-nspawn leaves out: numbers are those of Documentation/admin-guide/devices.txt of Linux. */
const devicesScript = `
  mknod -m 666 /dev/fuse c 10 229
  mknod -m 600 /dev/loop-control c 10 237
  for number in $(seq 0 63); do mknod -m 600 "/dev/loop$number" b 7 "$number"; done
`;

/** Starts the machine, and resolves when its systemd has: within half a minute. */
export async function startSystemdMachine({ directory, binds }: SystemdMachineOptions): Promise<SystemdMachine> {
  const name = `imagebuilder-${process.pid}`;
  await mkdir(directory, { recursive: true });
  const words = Object.entries(binds).map(([target, source]) => `--bind=${source}:${target}`);
  const script = ['sh', '-c', machineScript, 'machine', name, ...words];
  const group = spawnGroup(['unshare', '--mount', '--propagation', 'private', ...script], {
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    TMPDIR: directory,
  });
  let output = '';
  group.all?.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-10_000);
  });
  let ended = false;
  const end = group.then(() => {
    ended = true;
  });

  const run: SystemdMachine['run'] = async (command, options = {}) => {
    const first = await firstProcess(group.pid ?? 0);
    const namespaces = ['--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup', '--root', '--wd'];
    return await exec('nsenter', ['--target', first, ...namespaces, '--', ...command], {
      ...options,
      env: { DEBIAN_FRONTEND: 'noninteractive' },
    });
  };
  const dispose = async () => {
    if (!ended) await run(['systemctl', 'poweroff']).catch(() => signalGroup(group, 'SIGTERM'));
    const timer = setTimeout(() => signalGroup(group, 'SIGTERM'), endMs);
    await end;
    clearTimeout(timer);
  };

  const until = Date.now() + startMs;
  for (;;) {
    const started = await run(['systemctl', 'is-active', '--quiet', 'machine.target']).then(
      () => true,
      () => false,
    );
    if (started) {
      await run(['sh', '-c', devicesScript]);
      return { run, [Symbol.asyncDispose]: dispose };
    }
    if (ended || Date.now() > until) {
      await dispose();
      throw new Error(`the machine with systemd did not start:\n${output}`);
    }
    await sleep(250);
  }
}

/** The process id, here, of the machine's first process: the one child of systemd-nspawn. */
async function firstProcess(outer: number): Promise<string> {
  const children = async (id: string) => (await exec('pgrep', ['--parent', id])).stdout.trim().split('\n');
  const [nspawn = ''] = await children(String(outer));
  const [first = ''] = await children(nspawn);
  return first;
}
