import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { call } from '../../lab/servers/function.ts';
import { startImageServer } from '../../lab/servers/image-server.ts';
import { startLaunchpad } from '../../lab/servers/launchpad.ts';
import { freePorts } from '../../lab/servers/ports.ts';
import { startRabbitMq } from '../../lab/servers/rabbitmq.ts';
import { type SystemdMachine, startSystemdMachine } from '../../lab/servers/systemd-machine.ts';
import { makeDebianPackage } from '../../packaging/deb.ts';
import { smallImage } from '../system/faults/small-image.ts';
import { withMachine } from '../system/with-machine.ts';

/** The Debian package in a machine with a real systemd: installed, upgraded in the middle of a build, removed, purged. */

const root = join(import.meta.dirname, '../..');
const services = new AsyncDisposableStack();
test.after(() => services.disposeAsync());

/** A service under systemd, with the folders of this machine that it uses. */
interface Place {
  readonly machine: SystemdMachine;
  readonly packages: string;
  readonly data: string;
  readonly port: number;
}

async function startPlace(): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-installed-'));
  services.defer(() => rm(directory, { recursive: true }));
  const [packages, data] = [join(directory, 'packages'), join(directory, 'data')];
  await mkdir(packages);
  // The machine's own files are in memory, where a build has no room; and data on a disk of its own are usual.
  await mkdir(data);
  const binds = { '/packages': packages, '/var/lib/imagebuilder': data };
  const machine = services.use(await startSystemdMachine({ directory: join(directory, 'machine'), binds }));
  const [port = 0] = await freePorts(1);
  return { machine, packages, data, port };
}

async function makePackage({ packages }: Place, version: string): Promise<string> {
  const maintainer = 'Image Builder <maintainers@imagebuilder.org>';
  const details = { root, version, seconds: 1_700_000_000, to: packages, maintainer, architecture: workerArchitecture };
  return (await makeDebianPackage({ ...details, compression: ['none', 0] })).replace(packages, '/packages');
}

const apt = ({ machine }: Place, ...words: string[]) =>
  machine.run(['apt-get', '--quiet', '--yes', '-o', 'Dpkg::Options::=--force-unsafe-io', ...words]);

async function write({ machine }: Place, path: string, text: string): Promise<void> {
  await machine.run(['sh', '-c', 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1"', 'write', path, text]);
}

/**
 * All that is named after the package, but for the cache of man itself. The package's folder of data is a mount point of the
 * administrator's, which stays.
 */
async function filesOf({ machine }: Place): Promise<string[]> {
  const named = ['-path', '/var/cache/man', '-prune', '-o', '-iname', '*imagebuilder*', '-print'];
  const { stdout } = await machine.run(['find', '/etc', '/usr', '/var', '/run', '-xdev', ...named]);
  return stdout.split('\n');
}

async function eventually<Value>(what: string, look: () => Promise<Value | null>): Promise<Value> {
  const until = Date.now() + 240_000;
  for (;;) {
    const found = await look().catch(() => null);
    if (found !== null) return found;
    if (Date.now() > until) throw new Error(`${what}: not within four minutes`);
    await sleep(200);
  }
}

interface BuildAnswer {
  readonly state: string;
  readonly attempt: number;
  readonly step: string | null;
  readonly error?: { readonly message: string };
}

withMachine(
  'the package starts, is upgraded in the middle of a build, builds in both guests, and leaves nothing when it is purged',
  async () => {
    const base = await smallImage();
    const images = services.use(await startImageServer(base.path));
    const ppa = { owner: 'project', name: 'ppaname', series: [base.codename], packages: [{ name: 'libfoo' }] };
    const launchpad = services.use(await startLaunchpad({ ppas: [ppa], architectures: [workerArchitecture] }));
    const rabbitMq = services.use(await startRabbitMq());
    const place = await startPlace();
    const { machine, data, port } = place;
    const journal = async () =>
      (await machine.run(['journalctl', '--unit=imagebuilder', '--output=cat', '--no-pager'])).stdout;
    const ask = async (path: string, method = 'GET', body = '') => {
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
      const answer = await call({ host: '127.0.0.1', port }, path, { method, body, headers });
      return { status: answer.status, body: JSON.parse(answer.body.toString()) };
    };

    const before = await filesOf(place);
    // As on Ubuntu, only root reads the kernels.
    await machine.run(['sh', '-c', 'chmod 0600 /boot/vmlinuz-*']);
    // This machine's own port 8000 may be taken.
    await write(
      place,
      '/etc/systemd/system/imagebuilder.service.d/port.conf',
      `[Service]\nEnvironment=IMAGEBUILDER_LISTEN=127.0.0.1:${port}\nEnvironment=IMAGEBUILDER_AMQP_URL=amqp://127.0.0.1:1\n`,
    );

    await apt(place, 'install', await makePackage(place, '1.0.0'));
    await eventually('the service says what it lacks', async () => {
      const text = await journal();
      return text.includes('start RabbitMQ, or set IMAGEBUILDER_AMQP_URL or the secret imagebuilder-amqp-url') || null;
    });
    await machine.run(['/var/lib/dpkg/info/imagebuilder.postinst', 'configure', '1.0.0']);
    const { stdout: faults } = await machine.run(['systemd-analyze', 'verify', 'imagebuilder.service'], {
      okExitCodes: [0, 1],
    });
    assert.is(faults, '');

    await write(place, '/etc/imagebuilder/secrets/imagebuilder-amqp-url', rabbitMq.url);
    const settings = {
      IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK: 'true',
      IMAGEBUILDER_LAUNCHPAD_API_URL: launchpad.apiUrl,
      IMAGEBUILDER_PPA_URL: launchpad.ppaUrl,
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    await write(place, '/etc/imagebuilder/environment', lines.join(''));
    await machine.run(['systemctl', 'restart', 'imagebuilder']);
    await eventually('the service is ready', async () => ((await ask('/healthz')).status === 200 ? true : null));

    const submit = async (ticket: string) => {
      const request = {
        ticket_id: ticket,
        cancel_url: null,
        base_image: { image_type: 'cloud', url_list: [images.url], series: base.codename },
        ppa_list: ['ppa:project/ppaname'],
        package_list: ['libfoo'],
        progress_trigger: ticket,
      };
      const answer = await ask('/api/v1/build_image/', 'POST', JSON.stringify(request));
      assert.is(answer.status, 202, JSON.stringify(answer.body));
      return answer.body.build_id as string;
    };
    const build = async (id: string) => (await ask(`/api/v1/build_image/${id}`)).body as BuildAnswer;
    const assertBuilt = async (id: string, attempt: number, owner: string) => {
      const built = await eventually('the build ends', async () => {
        const answer = await build(id);
        return ['completed', 'failed'].includes(answer.state) ? answer : null;
      });
      assert.equal([built.state, built.attempt], ['completed', attempt], `${built.error?.message}\n${await journal()}`);
      assert.ok((await readdir(join(data, 'store', id))).some((name) => name.endsWith('.qcow2')));
      const user = await machine.run(['stat', '--format=%U', `/var/lib/imagebuilder/store/${id}`]);
      assert.is(user.stdout.trim(), owner);
    };

    images.hold();
    const inVm = await submit('vm');
    await eventually('the build runs', async () =>
      (await build(inVm)).state === 'running' && images.starts.length > 0 ? true : null,
    );
    await apt(place, 'install', await makePackage(place, '1.0.1'));
    assert.match((await machine.run(['dpkg-query', '--show', 'imagebuilder'])).stdout, '1.0.1');
    assert.match((await machine.run(['cat', '/etc/imagebuilder/environment'])).stdout, launchpad.ppaUrl);
    images.release();
    await assertBuilt(inVm, 2, 'imagebuilder');

    const dropIns = '/etc/systemd/system/imagebuilder.service.d';
    await machine.run(['ln', '-s', '/usr/lib/imagebuilder/host-guest.conf', dropIns]);
    await machine.run(['systemctl', 'daemon-reload']);
    await machine.run(['systemctl', 'restart', 'imagebuilder']);
    await eventually('the service is ready again', async () => ((await ask('/healthz')).status === 200 ? true : null));
    await assertBuilt(await submit('host'), 1, 'root');

    await apt(place, 'remove', 'imagebuilder');
    assert.is(
      (await machine.run(['systemctl', 'is-active', 'imagebuilder'], { okExitCodes: [3, 4] })).stdout.trim(),
      'inactive',
    );
    assert.is((await readdir(join(data, 'store'))).length, 2, 'images stay');
    assert.match((await machine.run(['cat', '/etc/imagebuilder/secrets/imagebuilder-amqp-url'])).stdout, rabbitMq.url);
    const modes = await machine.run(['sh', '-c', 'stat --format="%a %G" /boot/vmlinuz-* | sort -u']);
    assert.is(modes.stdout.trim(), '600 root');

    await machine.run(['rm', `${dropIns}/port.conf`]);
    await apt(place, 'purge', 'imagebuilder');
    assert.equal(
      (await filesOf(place)).filter((path) => !before.includes(path)),
      [],
    );
    assert.equal(await readdir(data), []);
    await machine.run(['id', 'imagebuilder']);
  },
);

test.run();
