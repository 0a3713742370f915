import { readdir, readFile, readlink } from 'node:fs/promises';

/** Processes of the machine that belong to a test, found by its folder, to kill them as an operator or the kernel would. */

export interface FoundProcess {
  readonly id: number;
  readonly command: string;
}

/** Processes that name `directory` in their command line, environment, root or working folder. */
export async function processesIn(directory: string): Promise<FoundProcess[]> {
  const found: FoundProcess[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(name) || Number(name) === process.pid) continue;
    const base = `/proc/${name}`;
    const command = (await readFile(`${base}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ');
    const mentions = [
      command,
      await readFile(`${base}/environ`, 'utf8').catch(() => ''),
      await readlink(`${base}/root`).catch(() => ''),
      await readlink(`${base}/cwd`).catch(() => ''),
    ];
    if (mentions.some((text) => text.includes(directory))) found.push({ id: Number(name), command });
  }
  return found;
}

/** Waits for a process of the folder whose command line matches, for at most `limitMs`. */
export async function waitForProcess(directory: string, command: RegExp, limitMs = 60_000): Promise<number> {
  for (const end = Date.now() + limitMs; Date.now() < end; ) {
    const match = (await processesIn(directory)).find((process) => command.test(process.command));
    if (match !== undefined) return match.id;
  }
  throw new Error(`no process like ${command} in ${directory} within ${limitMs / 1000} s`);
}
