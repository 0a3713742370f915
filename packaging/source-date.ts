import { exec } from '#lib/exec.ts';

/**
 * Time of every file of a package, in seconds since 1970: SOURCE_DATE_EPOCH
 * (https://reproducible-builds.org/specs/source-date-epoch/), or else the time of the newest commit. Throws where the
 * variable is no such number.
 */
export async function sourceDate(root: string): Promise<number> {
  const text = process.env.SOURCE_DATE_EPOCH || (await newestCommit(root, '%ct'));
  if (!/^[0-9]{1,11}$/.test(text)) throw new Error(`SOURCE_DATE_EPOCH is ${text}, and must be seconds since 1970`);
  return Number(text);
}

/** The newest commit in a format of git-log(1). */
export async function newestCommit(root: string, format: string): Promise<string> {
  const words = ['-C', root, '-c', `safe.directory=${root}`, 'log', '-1', `--format=${format}`];
  return (await exec('git', words)).stdout.trim();
}
