import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isTerminal } from '#lib/api/event.ts';
import type { Diagnosis } from '#lib/doctor/diagnose.ts';
import type { Finding } from '#lib/doctor/finding.ts';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { guessRoot } from '#lib/image/layout.ts';
import type { BuildView } from '#lib/queue/build.ts';
import { type Fleet, startFleet } from '../../lab/fleet/fleet.ts';
import type { Docker } from '../../lab/servers/docker.ts';
import {
  buildFunctionImage,
  containerLogs,
  functionDefinition,
  hardened,
  importFunctionBases,
  startContainer,
  testWithDocker,
} from '../../lab/servers/function-image.ts';
import { freePorts } from '../../lab/servers/ports.ts';

/**
 * The worker as a stock OpenFaaS pod runs it: its real image, with the environment, the limits and the read-only root
 * that stack.yml says, every capability dropped, Docker's default seccomp profile, a user who is not root, and a
 * writable /tmp. It builds real images, with the vm guest.
 */

const user = '12000';
/**
 * What the host guest needs of a container. `--privileged` has all of it and more, but cannot be given where the tests
 * themselves have not got everything.
 */
const privileged = [
  ...['--cap-add=SYS_ADMIN', '--cap-add=NET_ADMIN', '--volume=/dev:/dev'],
  // Docker's own filter refuses pivot_root, by which crun makes the image the root of a script.
  ...['--security-opt=apparmor=unconfined', '--security-opt=seccomp=unconfined'],
  ...['b 7:* rmw', 'c 10:237 rmw', 'c 10:229 rmw'].map((devices) => `--device-cgroup-rule=${devices}`),
];
/** A build under emulation, with the machine busy otherwise. */
const patienceMs = 15 * 60_000;

await testWithDocker(run);
test.run();

function run(docker: Docker): void {
  let directory: string;
  let fleet: Fleet;
  let pod: Worker;

  test.before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'imagebuilder-build-container-'));
    fleet = await startFleet({
      packages: () => [
        { name: 'greeter', version: '1.4.2-1', files: { '/usr/share/greeter/greeting': 'hello\n' } },
        { name: 'endless', scripts: { postinst: 'while :; do sleep 1; done' } },
      ],
    });
    await writeSecrets(join(directory, 'secrets'), {
      'imagebuilder-amqp-url': fleet.rabbitMq.url,
      'callback-signing-key': 'a key',
    });
    await importFunctionBases(docker);
    await buildFunctionImage(docker, 'build-worker', { tag: 'worker', directory });
    // As in a pod: /tmp is a volume on the disk, and the rest cannot be written to.
    pod = await startWorker({ args: [...hardened, `--user=${user}`, '--mount=type=volume,dst=/tmp'] });
  });
  test.after(async () => {
    await docker[Symbol.asyncDispose]();
    await fleet[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  /** A container of the worker. The host's network, where RabbitMQ and the servers are. */
  async function startWorker(how: {
    readonly args: readonly string[];
    readonly settings?: Readonly<Record<string, string>>;
  }): Promise<Worker> {
    const { environment, limits } = await functionDefinition('build-worker');
    const [port = 0, functionPort = 0] = await freePorts(2);
    const settings = {
      ...environment,
      port: String(port),
      PORT: String(functionPort),
      upstream_url: `http://127.0.0.1:${functionPort}`,
      IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
      IMAGEBUILDER_LAUNCHPAD_API_URL: fleet.launchpad.apiUrl,
      IMAGEBUILDER_PPA_URL: fleet.launchpad.ppaUrl,
      IMAGEBUILDER_CANCEL_POLL: '0.2',
      ...how.settings,
    };
    const args = [
      ...['--network=host', `--memory=${bytes(limits.memory)}`, `--memory-swap=${bytes(limits.memory)}`],
      `--cpus=${limits.cpu}`,
      ...['--mount', `type=bind,src=${join(directory, 'secrets')},dst=/var/openfaas/secrets,readonly`],
      ...Object.entries(settings).map(([name, value]) => `--env=${name}=${value}`),
    ];
    const isHealthy = async () =>
      await fetch(`http://127.0.0.1:${port}/_/health`).then(
        ({ ok }) => ok,
        () => false,
      );
    const id = await startContainer(docker, [...args, ...how.args, 'worker'], isHealthy);
    return {
      id,
      wake: () => void fetch(`http://127.0.0.1:${port}/`, { method: 'POST' }).catch(() => {}),
    };
  }

  /** The build, once it is as `wanted` says. */
  async function when(worker: Worker, buildId: string, wanted: (build: BuildView) => boolean): Promise<BuildView> {
    for (const end = Date.now() + patienceMs; ; await sleep(50)) {
      const build = fleet.broker.ledger.get(buildId);
      if (build !== undefined && wanted(build)) return build;
      if ((build !== undefined && isTerminal(build.state)) || Date.now() > end) {
        assert.unreachable(`${JSON.stringify(build?.event)}\n${await containerLogs(docker, worker.id)}`);
      }
    }
  }

  async function submit(worker: Worker, packages: readonly string[]): Promise<string> {
    const { buildId } = await fleet.submit(fleet.request({ package_list: [...packages] }));
    worker.wake();
    return buildId;
  }

  const installing = (name: string) => (build: BuildView) =>
    build.event.step === 'install' && build.event.message?.includes(name) === true;
  const hasEnded = ({ state }: BuildView) => isTerminal(state);

  /** The report, in the caller's events, of how its image was opened. */
  async function guestOf(buildId: string): Promise<unknown> {
    const events = await fleet.notifications(buildId);
    const { kind, accelerator } = events.find(({ guest }) => guest !== undefined)?.guest ?? {};
    return { kind, accelerator };
  }

  /** The folder of this machine that a container has at /tmp. */
  const volume = async (worker: Worker) => {
    const format = '{{range .Mounts}}{{if eq .Destination "/tmp"}}{{.Source}}{{end}}{{end}}';
    return (await docker.run(['inspect', '--format', format, worker.id])).stdout.trim();
  };

  /** Process ids, outside, and command lines of everything that runs in a container, the dead and unreaped too. */
  async function processes(worker: Worker): Promise<{ readonly id: number; readonly command: string }[]> {
    const { stdout } = await docker.run(['top', worker.id, '-eo', 'pid,args']);
    return [...stdout.matchAll(/^\s*([0-9]+)\s+(.*)$/gm)].map(([, id, command = '']) => ({ id: Number(id), command }));
  }

  /** Nothing of a build may be left in a container: neither files nor processes. */
  async function assertIdle(worker: Worker): Promise<void> {
    const running = async () => (await processes(worker)).map(({ command }) => command);
    const isIdle = async () => (await running()).length === 2;
    for (const end = Date.now() + 30_000; !(await isIdle()) && Date.now() < end; ) await sleep(100);
    const commands = await running();
    assert.match(commands[0] ?? '', 'fwatchdog');
    assert.equal(commands.slice(1), ['node index.ts']);
    const tmp = await volume(worker);
    assert.equal((await readdir(tmp)).sort(), ['.lock', 'imagebuilder']);
    assert.equal(await readdir(join(tmp, 'imagebuilder/work')), []);
  }

  /** Fails unless the image in the store of this machine is what the event says, with the file of `greeter` in it. */
  async function assertGreets(path: string, image: NonNullable<BuildView['event']['image']>): Promise<void> {
    const { sizeBytes, checksums } = await hashFile(path);
    assert.equal([sizeBytes, checksums], [image.size, image.checksums]);
    const { partitions } = await inspectImage(path, { maximumVirtualBytes: 2 ** 40 });
    const raw = join(directory, 'image.raw');
    await exec('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, raw]);
    const disk = `${raw}?offset=${guessRoot(partitions)?.offsetBytes}`;
    const { stdout } = await exec('debugfs', ['-R', 'cat /usr/share/greeter/greeting', disk]);
    assert.is(stdout, 'hello\n');
    await rm(raw);
  }

  test('the image holds what stack.yml names, and nothing that only its making needed', async () => {
    const inside = async (...command: string[]) =>
      (await docker.run(['run', '--rm', '--network=none', 'worker', ...command])).stdout.trim();
    const { build_args: buildArgs } = await functionDefinition('build-worker');
    await inside('dpkg-query', '--show', ...(buildArgs.ADDITIONAL_PACKAGE ?? '').split(' '));
    assert.match(await inside('qemu-storage-daemon', '--help'), 'type=]fuse', 'for the host guest');
    assert.match(await inside('ls', '/boot'), /^vmlinuz-/m);
    assert.not.match(await inside('ls', '/boot'), 'initrd');
    assert.is(await inside('ls', '/var/lib/apt/lists', '/var/cache/apt'), '/var/cache/apt:\n\n/var/lib/apt/lists:');
    assert.is(await inside('ls', '--almost-all', '/tmp'), '');
    assert.is(await inside('id', '--user'), user);
  });

  test('doctor, asked in that container as the documentation says, finds all that builds need there', async () => {
    const { stdout } = await docker.run(['exec', pod.id, 'node', 'function/bin/imagebuilder.ts', 'doctor', '--json']);
    const lines = stdout.trimEnd().split('\n');
    const findings = lines.slice(0, -1).map((line): Finding => JSON.parse(line));
    assert.equal(
      findings.filter(({ ok }) => !ok),
      [],
    );
    assert.match(findings.find(({ what }) => what === 'user')?.detail ?? '', user);
    const { ok, guest }: Diagnosis = JSON.parse(lines.at(-1) ?? '');
    assert.equal([ok, guest?.kind, guest?.accelerator], [true, 'vm', 'tcg']);
    assert.equal((await readdir(await volume(pod))).sort(), ['.lock', 'imagebuilder'], 'doctor leaves nothing');
  });

  test('a container without any privilege builds a cloud image in a vm, and keeps nothing but the image', async () => {
    const buildId = await submit(pod, ['greeter', 'jq']);
    await when(pod, buildId, ({ event }) => event.step === 'install');
    const running = await processes(pod);
    assert.ok(
      running.some(({ command }) => command.includes('qemu-system')),
      'while the vm runs',
    );
    for (const { id, command } of running) {
      const status = await readFile(`/proc/${id}/status`, 'utf8').catch(() => null);
      if (status === null) continue;
      const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1];
      const found = ['Uid', 'CapEff', 'CapPrm', 'CapBnd', 'NoNewPrivs', 'Seccomp'].map(field);
      const none = '0'.repeat(16);
      // Seccomp 2: a filter, Docker's own.
      assert.equal(found, [Array(4).fill(user).join('\t'), none, none, none, '1', '2'], command);
    }

    const { event } = await when(pod, buildId, hasEnded);
    const logs = await containerLogs(docker, pod.id);
    assert.is(event.state, 'completed', `${event.error?.message}\n${event.error?.log_tail?.join('\n')}\n${logs}`);
    assert.equal(await guestOf(buildId), { kind: 'vm', accelerator: 'tcg' });
    assert.ok(event.image);
    const packages = new Map(event.image.packages?.map(({ name, version }) => [name, version]));
    assert.is(packages.get('greeter'), '1.4.2-1');
    assert.ok(packages.has('jq'), 'a package of the distribution');
    const tmp = await volume(pod);
    await assertGreets(join(tmp, fileURLToPath(event.image.location).replace(/^\/tmp\//, '')), event.image);
    await assertIdle(pod);
  });

  test('a cancelled build leaves neither processes nor files, and a stopped worker gives its build back', async () => {
    const cancelled = await submit(pod, ['endless']);
    await when(pod, cancelled, installing('endless'));
    await fleet.broker.requestCancel(cancelled);
    assert.is((await when(pod, cancelled, hasEnded)).state, 'cancelled');
    await assertIdle(pod);

    const handedBack = await submit(pod, ['endless']);
    await when(pod, handedBack, installing('endless'));
    await docker.run(['stop', '--time', '30', pod.id]);
    assert.is((await docker.run(['wait', pod.id])).stdout.trim(), '0', await containerLogs(docker, pod.id));
    assert.is((await when(pod, handedBack, ({ event }) => event.state === 'queued')).owner, null);
    const tmp = await volume(pod);
    assert.equal(await readdir(join(tmp, 'imagebuilder/work')), []);
    await fleet.broker.requestCancel(handedBack);
  });

  test('the same image serves the host guest, where the container may mount', async () => {
    const worker = await startWorker({
      args: [...privileged, '--user=0', '--mount=type=volume,dst=/tmp'],
      settings: { IMAGEBUILDER_GUEST: 'host' },
    });
    const buildId = await submit(worker, ['greeter']);
    const { event } = await when(worker, buildId, hasEnded);
    const logs = await containerLogs(docker, worker.id);
    assert.is(event.state, 'completed', `${event.error?.message}\n${event.error?.log_tail?.join('\n')}\n${logs}`);
    assert.equal(await guestOf(buildId), { kind: 'host', accelerator: null });
    assert.ok(event.image);
    const tmp = await volume(worker);
    await assertGreets(join(tmp, fileURLToPath(event.image.location).replace(/^\/tmp\//, '')), event.image);
    await assertIdle(worker);
  });
}

interface Worker {
  /** Of the container. */
  readonly id: string;
  /** Calls it as the cron connector does, without waiting for the builds. */
  wake(): void;
}

async function writeSecrets(directory: string, secrets: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(directory, { recursive: true });
  for (const [name, value] of Object.entries(secrets)) await writeFile(join(directory, name), value);
}

/** The size of a limit of stack.yml. */
function bytes(limit: string): number {
  const match = /^([0-9]+)([KMG]i)$/.exec(limit);
  if (match === null) throw new Error(`${limit} is no size such as 2Gi`);
  return Number(match[1]) * { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 }[match[2] as 'Ki' | 'Mi' | 'Gi'];
}
