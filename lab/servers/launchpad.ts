import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { cp, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { gzipSync } from 'node:zlib';
import { exec } from '#lib/exec.ts';
import { listen } from './listen.ts';

/**
 * A server like Launchpad: PPAs with packages built on the spot, in Launchpad's layout and signed with a fresh key, and
 * the part of its API about them. For tests and the quickstart.
 */

/** A package to build. */
export interface PackageRecipe {
  readonly name: string;
  readonly version?: string;
  /** Default `all`. */
  readonly architecture?: string;
  /** More fields of the control file, such as `Depends`. */
  readonly fields?: Readonly<Record<string, string>>;
  /** Files by absolute path; mode 0755 below a `bin` folder, otherwise 0644. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Symbolic links by absolute path. */
  readonly links?: Readonly<Record<string, string>>;
  /** `preinst`, `postinst`, …: shell scripts without their first line. */
  readonly scripts?: Readonly<Record<string, string>>;
  readonly conffiles?: readonly string[];
  /** Folder of an unpacked package (`dpkg-deb -R`), in place of one that is made of all this but the names. */
  readonly tree?: string;
  /** Content of the file in place of a package; the lists describe another one. */
  readonly noise?: string;
}

/** Kinds of key: apt before 1.1 (trusty) verifies RSA only; making RSA keys takes up to a few seconds. */
export type KeyKind = 'ed25519' | 'rsa1024' | 'rsa2048' | 'rsa3072' | 'rsa4096';

export interface PpaRecipe {
  readonly owner: string;
  readonly name: string;
  /** Series that it publishes for, all with the same packages. */
  readonly series: readonly string[];
  readonly packages: readonly PackageRecipe[];
  /** Default `rsa3072`. */
  readonly key?: KeyKind;
  /** A fault of the PPA, for tests of errors. */
  readonly flaw?:
    | 'private'
    | 'never-published'
    | 'unsigned'
    | 'wrong-signature'
    | 'wrong-key'
    | 'wrong-hash'
    | 'expired';
}

/** The answer of a path instead of its content. */
export type Fault =
  | { readonly kind: 'status'; readonly status: number }
  /** Takes the request and never answers. */
  | { readonly kind: 'stall' }
  /** Cuts the connection after so many bytes of the body. */
  | { readonly kind: 'cut'; readonly afterBytes: number };

export interface LoggedRequest {
  readonly method: string;
  readonly path: string;
}

export interface Launchpad extends AsyncDisposable {
  /** As IMAGEBUILDER_LAUNCHPAD_API_URL. */
  readonly apiUrl: string;
  /** As IMAGEBUILDER_PPA_URL. */
  readonly ppaUrl: string;
  /** Every request so far, oldest first. */
  readonly requests: readonly LoggedRequest[];
  /** Makes every path that matches fail, until it is called with null. */
  fault(path: RegExp, fault: Fault | null): void;
  /** Publishes a PPA anew with these packages, signed by the same key. */
  republish(ppa: PpaRecipe): Promise<void>;
}

export interface LaunchpadOptions {
  readonly ppas: readonly PpaRecipe[];
  /** Folder to build in, kept afterwards; default a temporary one. */
  readonly directory?: string;
  /** Default: a free port of 127.0.0.1. */
  readonly port?: number;
  /** Architectures that PPAs have indexes for. Default amd64, arm64, armhf and i386. */
  readonly architectures?: readonly string[];
}

/** Builds the PPAs and serves them on the loopback interface until disposed. */
export async function startLaunchpad(options: LaunchpadOptions): Promise<Launchpad> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'launchpad-')));
  const architectures = options.architectures ?? ['amd64', 'arm64', 'armhf', 'i386'];
  const signers = new Map<string, Promise<Signer>>();
  const remove = async () => {
    for (const signer of await Promise.allSettled(signers.values())) {
      if (signer.status === 'fulfilled') await signer.value[Symbol.asyncDispose]();
    }
    if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
  };
  const publishSigned = async (ppa: PpaRecipe): Promise<PublishedArchive> => {
    if (ppa.flaw === 'never-published') return { ppa, fingerprint: null, key: '' };
    const id = `${ppa.owner}/${ppa.name}`;
    const signer = signers.get(id) ?? createSigner(ppa.key ?? 'rsa3072', `Launchpad PPA for ${ppa.owner}`);
    signers.set(id, signer);
    return await publish(directory, ppa, architectures, await signer);
  };
  try {
    const archives = await Promise.all(options.ppas.map(publishSigned));
    const requests: LoggedRequest[] = [];
    const faults = new Map<string, { path: RegExp; fault: Fault }>();
    const server = createServer((request, response) => {
      const path = decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname);
      requests.push({ method: request.method ?? '', path: request.url ?? '' });
      const found = [...faults.values()].find((entry) => entry.path.test(path));
      void serve(request, response, { path, directory, archives, fault: found?.fault ?? null }).catch(() => {
        response.destroy();
      });
    });
    const { url, ...listening } = await listen(server, { port: options.port ?? 0 });
    return {
      apiUrl: `${url}/devel`,
      ppaUrl: url,
      requests,
      fault(path, fault) {
        if (fault === null) faults.delete(path.source);
        else faults.set(path.source, { path, fault });
      },
      republish: async (ppa) => void (await publishSigned(ppa)),
      async [Symbol.asyncDispose]() {
        await listening[Symbol.asyncDispose]();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** A package that prints `marker` on the console when a system with systemd boots. */
export function markerPackage(name: string, marker: string): PackageRecipe {
  const unit = `[Unit]
Description=Prints a marker on the console

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo "$MARKER" >/dev/console'
Environment="MARKER=${marker}"

[Install]
WantedBy=multi-user.target
`;
  return {
    name,
    files: { [`/lib/systemd/system/${name}.service`]: unit },
    links: { [`/etc/systemd/system/multi-user.target.wants/${name}.service`]: `/lib/systemd/system/${name}.service` },
  };
}

/** A package whose script after installation says `message` and fails. */
export function failingPackage(name: string, message: string): PackageRecipe {
  return { name, scripts: { postinst: `echo '${message}' >&2\nexit 7` } };
}

interface PublishedArchive {
  readonly ppa: PpaRecipe;
  readonly fingerprint: string | null;
  /** In ASCII armour. */
  readonly key: string;
}

async function publish(
  directory: string,
  ppa: PpaRecipe,
  architectures: readonly string[],
  signer: Signer,
): Promise<PublishedArchive> {
  const root = join(directory, ppa.owner, ppa.name, 'ubuntu');
  const somebodyElse = ppa.flaw === 'wrong-signature' || ppa.flaw === 'wrong-key';
  await using other = somebodyElse ? await createSigner('ed25519', 'Somebody else') : null;
  const stanzas: Stanza[] = [];
  for (const recipe of ppa.packages) stanzas.push(await buildPackage(root, recipe));
  for (const series of ppa.series) {
    const dist = join(root, 'dists', series);
    const indexes = new Map<string, Uint8Array>();
    for (const architecture of architectures) {
      const text = stanzas
        .filter((stanza) => stanza.architecture === 'all' || stanza.architecture === architecture)
        .map((stanza) => `${stanza.text}\n`)
        .join('');
      const path = `main/binary-${architecture}`;
      const plain = Buffer.from(text);
      indexes.set(`${path}/Packages`, plain);
      indexes.set(`${path}/Packages.gz`, gzipSync(plain));
      await mkdir(join(dist, path), { recursive: true });
      await writeFile(join(dist, path, 'Packages'), plain);
      await exec('xz', ['--keep', '--force', join(dist, path, 'Packages')]);
      indexes.set(`${path}/Packages.xz`, await readFile(join(dist, path, 'Packages.xz')));
    }
    const release = renderRelease(ppa, series, architectures, indexes);
    for (const [path, content] of indexes) {
      await writeFile(join(dist, path), ppa.flaw === 'wrong-hash' ? Buffer.alloc(content.length, 'x') : content);
    }
    await writeFile(join(dist, 'Release'), release);
    if (ppa.flaw === 'unsigned') continue;
    const by = ppa.flaw === 'wrong-signature' && other !== null ? other : signer;
    await writeFile(join(dist, 'InRelease'), await by.sign(release, '--clearsign'));
    await writeFile(join(dist, 'Release.gpg'), await by.sign(release, '--detach-sign'));
  }
  return {
    ppa,
    fingerprint: signer.fingerprint,
    key: ppa.flaw === 'wrong-key' && other !== null ? other.publicKey : signer.publicKey,
  };
}

interface Stanza {
  readonly architecture: string;
  readonly text: string;
}

/** Builds a .deb into the pool and returns its stanza for Packages. */
async function buildPackage(root: string, recipe: PackageRecipe): Promise<Stanza> {
  const { name, version = '1.0-1', architecture = 'all' } = recipe;
  const tree = await mkdtemp(join(tmpdir(), 'launchpad-package-'));
  try {
    if (recipe.tree !== undefined) await cp(recipe.tree, tree, { recursive: true, verbatimSymlinks: true });
    const control =
      recipe.tree !== undefined
        ? await readFile(join(tree, 'DEBIAN', 'control'), 'utf8')
        : Object.entries({
            Package: name,
            Version: version,
            Architecture: architecture,
            Maintainer: 'Image Builder <imagebuilder@example.com>',
            Section: 'misc',
            Priority: 'optional',
            ...recipe.fields,
            Description: recipe.fields?.Description ?? `a package for tests`,
          })
            .map(([field, value]) => `${field}: ${value}\n`)
            .join('');
    await mkdir(join(tree, 'DEBIAN'), { recursive: true, mode: 0o755 });
    await writeFile(join(tree, 'DEBIAN', 'control'), control);
    if (recipe.conffiles !== undefined) {
      await writeFile(join(tree, 'DEBIAN', 'conffiles'), `${recipe.conffiles.join('\n')}\n`);
    }
    for (const [script, text] of Object.entries(recipe.scripts ?? {})) {
      await writeFile(join(tree, 'DEBIAN', script), `#!/bin/sh\nset -e\n${text}\n`, { mode: 0o755 });
    }
    for (const [path, content] of Object.entries(recipe.files ?? {})) {
      await mkdir(join(tree, dirname(path)), { recursive: true, mode: 0o755 });
      await writeFile(join(tree, path), content, { mode: /\/s?bin\//.test(path) ? 0o755 : 0o644 });
    }
    for (const [path, target] of Object.entries(recipe.links ?? {})) {
      await mkdir(join(tree, dirname(path)), { recursive: true, mode: 0o755 });
      await symlink(target, join(tree, path));
    }
    // trusty's dpkg reads gzip and xz; zstd, the default of newer dpkg on Ubuntu, only since bionic.
    const file = posix.join(
      'pool/main',
      name.slice(0, 1),
      name,
      `${name}_${version.replace(/^[0-9]+:/, '')}_${architecture}.deb`,
    );
    await mkdir(join(root, dirname(file)), { recursive: true });
    if (recipe.noise !== undefined) await writeFile(join(root, file), recipe.noise);
    else await exec('dpkg-deb', ['--root-owner-group', '-Zgzip', '--build', tree, join(root, file)]);
    const content = await readFile(join(root, file));
    const text = `${control}Filename: ${file}\nSize: ${content.length}\nMD5sum: ${digest('md5', content)}\nSHA1: ${digest('sha1', content)}\nSHA256: ${digest('sha256', content)}\n`;
    return { architecture, text };
  } finally {
    await rm(tree, { recursive: true, force: true });
  }
}

/** A Release file as Launchpad writes it; pins of PPAs refer to its origin. */
function renderRelease(
  ppa: PpaRecipe,
  series: string,
  architectures: readonly string[],
  indexes: ReadonlyMap<string, Uint8Array>,
): string {
  const date = (time: number) => `${new Date(time).toUTCString().replace('GMT', 'UTC')}`;
  const lines = [
    `Origin: LP-PPA-${ppa.owner}${ppa.name === 'ppa' ? '' : `-${ppa.name}`}`,
    `Label: ${ppa.name}`,
    `Suite: ${series}`,
    `Codename: ${series}`,
    `Date: ${date(Date.now() - 3_600_000)}`,
    ...(ppa.flaw === 'expired' ? [`Valid-Until: ${date(Date.now() - 600_000)}`] : []),
    `Architectures: ${architectures.join(' ')}`,
    'Components: main',
    `Description: Ubuntu ${series}`,
  ];
  for (const [field, algorithm] of [
    ['MD5Sum', 'md5'],
    ['SHA1', 'sha1'],
    ['SHA256', 'sha256'],
  ] as const) {
    lines.push(`${field}:`);
    for (const [path, content] of indexes) lines.push(` ${digest(algorithm, content)} ${content.length} ${path}`);
  }
  return `${lines.join('\n')}\n`;
}

interface Signer extends AsyncDisposable {
  readonly fingerprint: string;
  readonly publicKey: string;
  sign(text: string, how: '--clearsign' | '--detach-sign'): Promise<string>;
}

async function createSigner(kind: KeyKind, name: string): Promise<Signer> {
  const home = await mkdtemp(join(tmpdir(), 'launchpad-gpg-'));
  const gpg = async (args: readonly string[], input?: string) => {
    const common = ['--homedir', home, '--batch', '--no-tty', '--pinentry-mode', 'loopback', '--passphrase', ''];
    return (await exec('gpg', [...common, ...args], input === undefined ? {} : { input })).stdout;
  };
  await gpg(['--quick-generate-key', name, kind, 'sign', 'never']);
  const listing = await gpg(['--with-colons', '--list-keys']);
  const fingerprint = /^fpr:{9}([0-9A-F]{40}):/m.exec(listing)?.[1] ?? '';
  return {
    fingerprint,
    publicKey: await gpg(['--armor', '--export', fingerprint]),
    sign: (text, how) => gpg(['--armor', '--digest-algo', 'SHA512', '--output', '-', how], text),
    async [Symbol.asyncDispose]() {
      await exec('gpgconf', ['--homedir', home, '--kill', 'all']);
      await rm(home, { recursive: true, force: true });
    },
  };
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  place: {
    readonly path: string;
    readonly directory: string;
    readonly archives: readonly PublishedArchive[];
    readonly fault: Fault | null;
  },
): Promise<void> {
  const { path, fault } = place;
  if (fault?.kind === 'stall') return;
  if (fault?.kind === 'status') return end(response, fault.status, 'text/plain', `asked for ${fault.status}\n`);
  const api = /^\/devel\/~([^/]+)\/\+archive\/ubuntu\/([^/]+)$/.exec(path);
  if (api !== null) {
    const archive = place.archives.find(({ ppa }) => ppa.owner === api[1] && ppa.name === api[2]);
    const { status, body } = apiAnswer(request, archive);
    if (body === null) return end(response, status, 'text/plain', `status ${status}\n`);
    return end(response, status, 'application/json', JSON.stringify(body));
  }
  const isPrivate = place.archives.some(
    ({ ppa }) => ppa.flaw === 'private' && path.startsWith(`/${ppa.owner}/${ppa.name}/`),
  );
  if (isPrivate) return end(response, 401, 'text/plain', 'Unauthorized\n');
  await sendFile(request, response, join(place.directory, posix.normalize(path)), fault);
}

/**
 * Launchpad's answer about an archive; operations that this server does not know, or Launchpad does not answer, are
 * plain text.
 */
function apiAnswer(request: IncomingMessage, archive: PublishedArchive | undefined): { status: number; body: unknown } {
  if (archive === undefined) return { status: 404, body: null };
  if (archive.ppa.flaw === 'private') return { status: 401, body: null };
  const operation = new URL(request.url ?? '/', 'http://localhost').searchParams.get('ws.op');
  if (operation === 'getSigningKeyData') return { status: 200, body: archive.key };
  const { owner, name } = archive.ppa;
  return {
    status: 200,
    body: {
      name,
      displayname: name,
      reference: `~${owner}/ubuntu/${name}`,
      private: false,
      publish: true,
      signing_key_fingerprint: archive.fingerprint,
    },
  };
}

function end(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
}

/** With Last-Modified, conditional requests and ranges, as apt uses them. */
async function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  file: string,
  fault: Fault | null,
): Promise<void> {
  const found = await stat(file).catch(() => null);
  if (found === null || !found.isFile()) return end(response, 404, 'text/plain', 'Not Found\n');
  const modified = new Date(Math.floor(found.mtimeMs / 1000) * 1000);
  const since = request.headers['if-modified-since'];
  if (since !== undefined && modified.getTime() <= Date.parse(since)) {
    response.writeHead(304).end();
    return;
  }
  const range = /^bytes=([0-9]+)-$/.exec(request.headers.range ?? '');
  const start = Number(range?.[1] ?? 0);
  if (start >= found.size && start > 0) return end(response, 416, 'text/plain', '');
  response.writeHead(range === null ? 200 : 206, {
    'content-type': 'application/octet-stream',
    'content-length': found.size - start,
    'last-modified': modified.toUTCString(),
    'accept-ranges': 'bytes',
    ...(range === null ? {} : { 'content-range': `bytes ${start}-${found.size - 1}/${found.size}` }),
  });
  if (request.method === 'HEAD' || found.size === 0) {
    response.end();
    return;
  }
  if (fault?.kind !== 'cut') {
    createReadStream(file, { start })
      .on('error', () => response.destroy())
      .pipe(response);
    return;
  }
  const content = (await readFile(file)).subarray(start, start + fault.afterBytes);
  response.write(content, () => response.destroy());
}

function digest(algorithm: string, content: Uint8Array): string {
  return createHash(algorithm).update(content).digest('hex');
}
