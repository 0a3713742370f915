import { readFile } from 'node:fs/promises';
import { ImageBuilderError } from '#lib/errors.ts';

/** The reasons for which a file cannot be read, by code. */
export const unreadable: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a folder',
};

/** The text of a file that the option `flag` names. Throws `request.invalid` with the reason in words. */
export async function readText(file: string, flag: string): Promise<string> {
  return await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    const reason = unreadable[error.code ?? ''] ?? error.message;
    throw new ImageBuilderError('request.invalid', `${flag} ${file} cannot be read: ${reason}`, { cause: error });
  });
}
