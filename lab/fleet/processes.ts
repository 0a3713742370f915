import { readdir, readFile, readlink } from 'node:fs/promises';

/** Finds a test's processes on the machine by its folder, to kill them as an operator or the kernel would. */

export interface FoundProcess {
  readonly id: number;
  readonly command: string;
}

/**
 * Processes that name `directory` in their command line, environment or working folder, and all their descendants: a
 * process inside an image does not name the folder.
 */
export async function processesIn(directory: string): Promise<FoundProcess[]> {
  const all = new Map<number, FoundProcess & { readonly parentId: number; readonly mentions: boolean }>();
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name) || Number(name) === process.pid) continue;
    const base = `/proc/${name}`;
    const stat = await readFile(`${base}/stat`, 'utf8').catch(() => '');
    const parentId = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    const command = (await readFile(`${base}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ');
    const texts = [
      command,
      await readFile(`${base}/environ`, 'utf8').catch(() => ''),
      await readlink(`${base}/cwd`).catch(() => ''),
    ];
    const mentions = texts.some((text) => text.includes(directory));
    all.set(Number(name), { id: Number(name), command, parentId, mentions });
  }
  const belongs = (id: number): boolean => {
    const found = all.get(id);
    return found !== undefined && (found.mentions || belongs(found.parentId));
  };
  return [...all.values()].filter(({ id }) => belongs(id)).map(({ id, command }) => ({ id, command }));
}

/**
 * Waits for a process of the folder whose command line matches, for at most `limitMs`. On a busy machine a look takes
 * seconds: the process has to last.
 */
export async function waitForProcess(directory: string, command: RegExp, limitMs = 60_000): Promise<number> {
  for (const end = Date.now() + limitMs; Date.now() < end; ) {
    const match = (await processesIn(directory)).find((process) => command.test(process.command));
    if (match !== undefined) return match.id;
  }
  throw new Error(`no process like ${command} in ${directory} within ${limitMs / 1000} s`);
}
