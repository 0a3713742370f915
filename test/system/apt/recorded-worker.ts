import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openAptCaches } from '#lib/apt/caches.ts';
import { openAptOutside } from '#lib/apt/outside/apt-outside.ts';
import { readOutsideState } from '#lib/apt/outside/worker-apt.ts';
import { loadConfig } from '#lib/config/load.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { giveTo } from '#lib/unprivileged.ts';

/**
 * Resolves and downloads in a process of its own: `DIRECTORY PACKAGE…`. The image is a recording in `told.json`. Prints the
 * packages that would be handed in to it, and the user of this process. For root, apt's folders belong to somebody else
 * first, as the host guest leaves them.
 */
const [directory = '', ...packages] = process.argv.slice(2);
const { facts, told } = JSON.parse(await readFile(join(directory, 'told.json'), 'utf8'));
const signal = new AbortController().signal;
const workDirectory = join(directory, 'work');
await mkdir(workDirectory);

class HandedIn extends Error {}
const session: GuestSession = {
  kind: 'vm',
  network: false,
  mounted: ['/'],
  notMounted: [],
  async run({ name, folder, files, onLine }) {
    if (folder !== undefined) {
      const archives = (await readdir(folder)).sort();
      const wanted = String(files?.wanted).split('\n');
      console.log(JSON.stringify({ uid: process.getuid?.(), archives, wanted }));
      throw new HandedIn();
    }
    for (const line of told[name] ?? []) onLine?.(line, 'stdout');
    return { stdout: '', stderr: '' };
  },
  close: async () => {},
  async [Symbol.asyncDispose]() {},
};

await using caches = await openAptCaches({
  cacheDirectory: join(directory, 'cache'),
  cacheBytes: 1_000_000_000,
  baseImageSha256: 'a'.repeat(64),
  workDirectory,
  signal,
});
if (process.getuid?.() === 0) for (const { source } of caches.binds) await giveTo({ id: 200_000, groups: [] }, source);
await using apt = await openAptOutside(session, await readOutsideState(session, facts), {
  ...{ binds: caches.binds, workDirectory },
  ...{ unprivilegedIds: loadConfig({}).tools.unprivilegedIds, signal },
});
const options = {
  proxyUrl: null,
  recommends: false,
  allowDowngrades: false,
  sources: [],
  signal,
  onLog: () => {},
  onWarning: () => {},
  onProgress: () => {},
};
await apt.updateLists(options);
await apt.installPackages(packages, options).catch((error: unknown) => {
  if (!(error instanceof HandedIn)) throw error;
});
