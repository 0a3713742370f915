import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeTouchBase } from '../../lab/images/touch-base.ts';

export interface BenchBase {
  /** For the report, such as `armhf`. */
  readonly title: string;
  readonly architecture: 'amd64' | 'armhf';
  /** Packed by gzip with its default level. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly unpackedBytes: number;
  readonly codename: string;
}

/** Copies of /usr that the large base has, so that it is as large as published ones. */
const copies = 16;

const enlarge = `
tar --extract --file="$1" --numeric-owner --xattrs --xattrs-include='*' --directory=root
for number in $(seq "$2"); do cp -a root/usr "root/opt/usr-$number"; done
tar --create --file=large.tar --numeric-owner --xattrs --xattrs-include='*' --sort=name --directory=root .
`;

/** Makes the archives of the bench, or finds those of an earlier run. Needs root. */
export async function makeBenchBases(
  cacheDirectory: string,
  onLine: (line: string) => void,
  signal: AbortSignal,
): Promise<readonly [amd64: BenchBase, armhf: BenchBase, large: BenchBase]> {
  const [amd64, armhf] = [
    await makeTouchBase(baseImageCache, 'amd64', onLine),
    await makeTouchBase(baseImageCache, 'armhf', onLine),
  ];
  const recipe = await readFile(new URL(import.meta.url));
  const packedOf = async (name: string, base: typeof armhf, isLarge: boolean) => {
    const key = createHash('sha256').update(recipe).update(base.path).digest('hex').slice(0, 12);
    const path = join(cacheDirectory, `touch-${name}-${key}.tar.gz`);
    if ((await stat(path).catch(() => null)) === null) {
      onLine(`making the archive ${name} (a minute at most)`);
      const directory = await mkdtemp(join(cacheDirectory, 'making-touch-'));
      try {
        const run = { cwd: directory, signal };
        await exec('mkdir', ['root'], run);
        if (isLarge) await exec('sh', ['-euc', enlarge, 'sh', base.path, String(copies)], run);
        const from = isLarge ? 'large.tar' : base.path;
        await exec('sh', ['-c', 'exec gzip --no-name <"$1" >packed', 'sh', from], run);
        await rename(join(directory, 'packed'), path);
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    }
    const { stdout } = await exec('sh', ['-c', 'gzip --decompress <"$1" | wc -c', 'sh', path], { signal });
    return { path, sizeBytes: (await stat(path)).size, unpackedBytes: Number(stdout), codename: base.codename };
  };
  return [
    { title: 'amd64', architecture: 'amd64', ...(await packedOf('amd64', amd64, false)) },
    { title: 'armhf', architecture: 'armhf', ...(await packedOf('armhf', armhf, false)) },
    { title: 'armhf, large', architecture: 'armhf', ...(await packedOf('armhf-large', armhf, true)) },
  ];
}
