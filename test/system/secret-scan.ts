import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createGunzip } from 'node:zlib';

/** Looks for secrets where they do not belong. */
export interface SecretScan {
  /** Looks through a text. `where` names the place of a find. */
  text(where: string, content: string): void;
  /** Looks through a file, byte by byte; of one that is compressed, through what it unpacks to. */
  file(path: string, where?: string): Promise<void>;
  /** Looks through every file below a folder, and the names of all. */
  folder(path: string): Promise<void>;
  /**
   * Watches the command lines and environments of all processes that descend from `roots` from now on, until disposed.
   */
  processes(roots: () => readonly number[]): AsyncDisposable;
  /** The secrets that were found, with their places: `what: where`. */
  readonly found: ReadonlySet<string>;
}

/**
 * Scans for `secrets`, which are given by name. They are found as they are and in base64, so their values must be the
 * same in every other spelling: letters, digits, "-" and "_".
 */
export function scanFor(secrets: Readonly<Record<string, string>>): SecretScan {
  const found = new Set<string>();
  const needles = Object.entries(secrets).flatMap(([name, value]) =>
    spellings(value).map((spelling) => [name, Buffer.from(spelling)] as const),
  );
  const longest = Math.max(...needles.map(([, needle]) => needle.length));
  // Tokens of Keystone, which cannot be known beforehand: Fernet's version byte and the first bytes of its time, in
  // base64.
  const token = /gAAAAA[A-Za-z0-9_-]{40,}/;

  const look = (where: string, content: Buffer) => {
    for (const [name, needle] of needles) if (content.includes(needle)) found.add(`${name}: ${where}`);
    if (token.test(content.toString('latin1'))) found.add(`a token of Keystone: ${where}`);
  };

  const scan: SecretScan = {
    found,
    text: (where, content) => look(where, Buffer.from(content)),
    async file(path, where = path) {
      let before = Buffer.alloc(0);
      const stored = createReadStream(path, { highWaterMark: 4 * 1024 * 1024 });
      const content: AsyncIterable<Buffer> = path.endsWith('.gz') ? stored.pipe(createGunzip()) : stored;
      for await (const chunk of content) {
        const joined = Buffer.concat([before, chunk]);
        look(where, joined);
        before = joined.subarray(-longest);
      }
    },
    async folder(path) {
      for (const entry of await readdir(path, { recursive: true, withFileTypes: true })) {
        const inner = join(entry.parentPath, entry.name);
        scan.text(`the name ${inner}`, inner);
        if (entry.isFile()) await scan.file(inner);
      }
    },
    processes(roots) {
      const stop = new AbortController();
      const watching = (async () => {
        while (!stop.signal.aborted) {
          for (const id of await descendants(roots())) {
            const command = (await text(`/proc/${id}/cmdline`)).replaceAll('\0', ' ');
            const what = command.slice(0, 80);
            scan.text(`the command line ${what}`, command);
            scan.text(`the environment of ${what}`, await text(`/proc/${id}/environ`));
          }
          await sleep(5);
        }
      })();
      return {
        async [Symbol.asyncDispose]() {
          stop.abort();
          await watching;
        },
      };
    },
  };
  return scan;
}

/** The value, and the base64 of its bytes at each of the three places at which they may begin. */
function spellings(value: string): string[] {
  const encoded = [0, 1, 2].map((shift) => {
    const text = Buffer.from(' '.repeat(shift) + value).toString('base64');
    // The ends depend on the bytes before and after.
    return text.slice(shift === 0 ? 0 : 4, -4);
  });
  return [value, ...encoded];
}

/** The processes themselves, and all their descendants. */
async function descendants(roots: readonly number[]): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const stat = await text(`/proc/${name}/stat`);
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const isOne = (id: number | undefined): boolean =>
    id !== undefined && id > 1 && (roots.includes(id) || isOne(parents.get(id)));
  return [...parents.keys()].filter(isOne);
}

async function text(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch(() => '');
}
