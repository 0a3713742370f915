import { createReader, type Region } from './region.ts';
import type { RootEntry } from './root-entry.ts';

/** The numbers of the users and groups of an image, by their names. */
export interface Accounts {
  readonly users: ReadonlyMap<string, number>;
  readonly groups: ReadonlyMap<string, number>;
}

/** More than any image has. */
const maximumBytes = 2 ** 20;

/** Reads passwd(5) and group(5) of a root file system. Empty where there are no such files. Throws `image.truncated`. */
export async function readAccounts(archive: Region, entries: ReadonlyMap<string, RootEntry>): Promise<Accounts> {
  const read = async (path: string) => {
    const entry = entries.get(path);
    if (entry?.type !== 'file' || entry.sizeBytes > maximumBytes) return new Map<string, number>();
    const bytes = await createReader(archive)(entry.contentAt, entry.sizeBytes);
    return parseAccounts(bytes.toString('latin1'));
  };
  return { users: await read('etc/passwd'), groups: await read('etc/group') };
}

/** Lines such as `adm:x:4:`. The first one of a name counts, as for the C library. */
export function parseAccounts(text: string): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [name = '', , number = ''] = line.split(':', 3);
    if (name !== '' && /^[0-9]{1,10}$/.test(number) && !numbers.has(name)) numbers.set(name, Number(number));
  }
  return numbers;
}
