import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Reads the shell scripts `<name>.sh` of a folder, once, when a module loads. They are plain POSIX shell; variable
 * values come in as arguments, input and files, never as script text. Throws Node's error where one is missing.
 */
export function readShellScripts<Name extends string>(
  directory: string,
  names: readonly Name[],
): Readonly<Record<Name, string>> {
  const texts = names.map((name) => [name, readFileSync(join(directory, `${name}.sh`), 'utf8')] as const);
  return Object.fromEntries(texts) as Record<Name, string>;
}

/** As words of a POSIX shell. */
export function shellWords(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
}
