import { mkdir, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Apt } from '#lib/apt/apt.ts';
import { type AptCaches, openAptCaches } from '#lib/apt/caches.ts';
import { type ImageFacts, readImageFacts } from '#lib/apt/facts.ts';
import { aptInside } from '#lib/apt/inside/apt-inside.ts';
import type { InstallOptions } from '#lib/apt/install.ts';
import { type PpaSource, resolvePpa } from '#lib/apt/launchpad.ts';
import { openAptOutside } from '#lib/apt/outside/apt-outside.ts';
import { readOutsideState } from '#lib/apt/outside/worker-apt.ts';
import { addSources } from '#lib/apt/sources.ts';
import type { UpdateOptions } from '#lib/apt/update.ts';
import { exec } from '#lib/exec.ts';
import type { GuestBind, GuestSession } from '#lib/guest/guest.ts';
import type { HttpClient } from '#lib/http/client.ts';
import { failingPackage, type Launchpad, type PpaRecipe, startLaunchpad } from '../../../lab/servers/launchpad.ts';
import { variants } from '../../runner/long.ts';
import { testClient } from '../../unit/fetch/with-server.ts';
import { unprivilegedIds } from '../unprivileged.ts';
import { type Chroot, minimalSystem, openChroot } from './chroot.ts';

/** The tests of apt share one small real system, one server of PPAs, and this way to either of the two apts. */

export type WhoseApt = 'the image’s apt' | 'the worker’s apt';
export const both: readonly WhoseApt[] = ['the image’s apt', 'the worker’s apt'];
/** One of them stands for both where a test takes long and the other's has nothing of its own. */
export const oneForBoth = variants<WhoseApt>('the worker’s apt', 'the image’s apt');

export interface AptHouse extends AsyncDisposable {
  readonly series: string;
  readonly launchpad: Launchpad;
  readonly client: HttpClient;
  /** The system of all tests that leave no more in it than `setSource` takes out. */
  readonly chroot: Chroot;
  newChroot(): Promise<Chroot>;
  /** A PPA of the owner `project`. */
  resolve(name: string): Promise<PpaSource>;
  /**
   * Makes a PPA, or nothing, the only source of a system. Takes what tests have installed out of the one that they
   * share.
   */
  setSource(source: PpaSource | null, options?: { readonly chroot?: Chroot; readonly series?: string }): Promise<void>;
  /** Opens one of the apts for a system, with lists and archives of its own. */
  open(who: WhoseApt, options?: OpenOptions): Promise<OpenApt>;
}

export interface OpenOptions {
  readonly chroot?: Chroot;
  /** More mounts for what runs inside. */
  readonly binds?: readonly GuestBind[];
  /** Default: the chroot's own folder. */
  readonly workDirectory?: string;
  readonly signal?: AbortSignal;
  /** Called with every line that a script writes, after the script's name. */
  readonly onLine?: (name: string, line: string) => void;
  /** Has the worker's apt believe that scripts reach the network, which they do not. Default: false. */
  readonly network?: boolean;
}

export interface OpenApt extends AsyncDisposable {
  readonly apt: Apt;
  readonly session: GuestSession;
  /** The system as it was before. */
  readonly facts: ImageFacts;
  readonly caches: AptCaches;
}

export const never = new AbortController().signal;

/** Options without which apt can do, for both of its methods. */
export const quiet: UpdateOptions & InstallOptions = {
  sources: [],
  proxyUrl: null,
  recommends: false,
  allowDowngrades: false,
  signal: never,
  retryPausesMs: [],
  onLog: () => {},
  onWarning: () => {},
  onProgress: () => {},
};

export async function openHouse(): Promise<AptHouse> {
  await using opened = new AsyncDisposableStack();
  const { tar, series } = await minimalSystem();
  const chroot = opened.use(await openChroot(tar));
  const launchpad = opened.use(await startLaunchpad({ ppas: recipes(series) }));
  const client = opened.use(testClient({ stallTimeoutMs: 10_000 }));
  const packagesOf = async ({ root }: Chroot) => {
    const { stdout } = await exec('chroot', [root, 'dpkg-query', '--show']);
    return stdout.split('\n').flatMap((line) => line.split('\t')[0] || []);
  };
  const keyrings = ({ root }: Chroot) => readdir(join(root, 'etc/apt/trusted.gpg.d'));
  const own = { packages: new Set(await packagesOf(chroot)), keyrings: new Set(await keyrings(chroot)) };

  const restore = async () => {
    const added = (await packagesOf(chroot)).filter((name) => !own.packages.has(name));
    if (added.length > 0) await exec('chroot', [chroot.root, 'dpkg', '--purge', '--force-all', ...added]);
    const keys = (await keyrings(chroot)).filter((name) => !own.keyrings.has(name));
    for (const name of keys) await rm(join(chroot.root, 'etc/apt/trusted.gpg.d', name));
    await rm(join(chroot.root, 'var/lib/apt/extended_states'), { force: true });
  };

  const kept = opened.move();
  return {
    series,
    launchpad,
    client,
    chroot,
    newChroot: () => openChroot(tar),
    resolve: (name) =>
      resolvePpa(
        { owner: 'project', name },
        {
          ...{ launchpadApiUrl: launchpad.apiUrl, ppaUrl: launchpad.ppaUrl, series, client },
          ...{ workDirectory: tmpdir(), unprivilegedIds, signal: never },
        },
      ),
    async setSource(source, options = {}) {
      const target = options.chroot ?? chroot;
      if (target === chroot) await restore();
      for (const name of ['sources.list', 'sources.list.d']) {
        await rm(join(target.root, 'etc/apt', name), { recursive: true, force: true });
      }
      await mkdir(join(target.root, 'etc/apt/sources.list.d'));
      if (source === null) return;
      const session = target.session();
      await addSources(session, await readImageFacts(session), [source], options.series ?? series);
    },
    async open(who, options = {}) {
      const { chroot: target = chroot, binds = [], workDirectory = target.directory, signal = never, onLine } = options;
      const { network = false } = options;
      await using parts = new AsyncDisposableStack();
      const caches = parts.use(
        await openAptCaches({
          ...{ cacheDirectory: join(workDirectory, 'cache'), cacheBytes: 1_000_000_000 },
          ...{ baseImageSha256: 'a'.repeat(64), workDirectory, signal },
        }),
      );
      const inside = who === 'the image’s apt';
      const plain = inside
        ? target.session({ binds: [...caches.binds, ...binds] })
        : { ...sessionWithoutNetwork(target, binds), network };
      const session = onLine === undefined ? plain : heard(plain, onLine);
      const facts = await readImageFacts(session);
      const apt = parts.use(
        inside
          ? aptInside(session, facts)
          : await openAptOutside(session, await readOutsideState(session, facts), {
              ...{ binds: caches.binds, workDirectory, unprivilegedIds, signal },
            }),
      );
      const open = parts.move();
      return { apt, session, facts, caches, [Symbol.asyncDispose]: () => open.disposeAsync() };
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function heard(session: GuestSession, onLine: (name: string, line: string) => void): GuestSession {
  return {
    ...session,
    run: (script) =>
      session.run({
        ...script,
        onLine: (line, stream) => {
          onLine(script.name, line);
          script.onLine?.(line, stream);
        },
      }),
  };
}

/** A session in a chroot whose scripts have no network, not even a loopback interface that is up. */
function sessionWithoutNetwork(chroot: Chroot, more: readonly GuestBind[] = []): GuestSession {
  return {
    ...chroot.session(),
    network: false,
    async run(script) {
      const folder = script.folder === undefined ? [] : [{ source: script.folder, target: '/mnt' }];
      return await chroot.session({ binds: [...folder, ...more] }).run({
        ...script,
        text: 'ln -s /mnt "$JOB/folder"; exec unshare --net /bin/sh "$JOB/script-without-network" "$@"',
        files: { ...script.files, 'script-without-network': script.text },
      });
    },
  };
}

function recipes(series: string): PpaRecipe[] {
  const ppa = (name: string, packages: PpaRecipe['packages'], flaw?: PpaRecipe['flaw']): PpaRecipe => ({
    ...{ owner: 'project', name, series: [series], key: 'ed25519', packages },
    ...(flaw === undefined ? {} : { flaw }),
  });
  const flawed = [{ name: 'hello-flawed' }];
  return [
    ppa('c++', [
      { name: 'hello-one', version: '1:1.0+b~1-1', files: { '/usr/bin/hello-one': '#!/bin/sh\necho one\n' } },
      { name: 'hello-one', version: '1:1.1-1' },
      {
        name: 'hello-two',
        fields: { Depends: 'hello-one (>= 1:1.0), jq', Recommends: 'hello-extra' },
        files: { '/etc/hello.conf': 'new\n' },
        conffiles: ['/etc/hello.conf'],
      },
      { name: 'hello-extra', fields: { Suggests: 'hello-suggested' } },
      { name: 'hello-suggested' },
      { name: 'hello-fan', fields: { Recommends: 'hello-extra', Provides: 'hello-many' } },
      { name: 'hello-meta', fields: { Depends: 'hello-member', Section: 'metapackages', Provides: 'hello-alone' } },
      { name: 'hello-member' },
      {
        name: 'hello-asks',
        fields: { Depends: 'debconf' },
        scripts: {
          postinst: '. /usr/share/debconf/confmodule; db_get hello-asks/answer; echo "$RET" >/etc/hello-answer',
        },
      },
      { name: 'wants-new-one', fields: { Depends: 'hello-one (>= 1:1.1)' } },
      { name: 'hates-diff', fields: { Conflicts: 'diffutils' } },
      {
        name: 'early',
        fields: { Provides: 'hello-many' },
        files: { '/usr/bin/early': '#!/bin/sh\n' },
        scripts: { postinst: 'touch /etc/early' },
      },
      {
        name: 'hates-extra',
        fields: { Conflicts: 'hello-extra', 'Pre-Depends': 'early' },
        scripts: { preinst: 'test -e /etc/early' },
      },
      { name: 'hates-one', fields: { Conflicts: 'hello-one' } },
      { name: 'foreign', architecture: 'i386', fields: { 'Multi-Arch': 'same' } },
      { name: 'needs-nothing-there', fields: { Depends: 'not-there (>= 2), neither-there' } },
      { name: 'calls-home', scripts: { postinst: "bash -c 'exec 4<>/dev/tcp/192.0.2.1/80'" } },
      { name: 'big', files: { '/opt/big': Buffer.alloc(48 * 1024 * 1024, 'big') } },
      failingPackage('hello-failing', 'the moon is in the wrong phase'),
      { name: 'no-package', noise: '!<arch>\nnot a package' },
    ]),
    ppa('tools', [{ name: 'hello-one', files: { '/opt/hello': Buffer.alloc(300_000, 'hello') } }]),
    ppa('sound', flawed),
    ...(['unsigned', 'wrong-signature', 'wrong-hash', 'expired'] as const).map((flaw) => ppa(flaw, flawed, flaw)),
  ];
}
