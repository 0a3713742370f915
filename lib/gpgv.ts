import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isNodeError } from './errors.ts';
import { exec } from './exec.ts';
import type { IdRange } from './privileges.ts';
import { giveTo, openToolHome, readForeignFile } from './unprivileged.ts';

/** Verifies OpenPGP signatures of untrusted files, by gpgv as a user without rights. */

export interface GpgvOptions {
  /** A folder for gpgv's temporary files. */
  readonly workDirectory: string;
  /** The user ids for gpgv where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** The words of gpgv's status lines (GnuPG's doc/DETAILS), the keyword first. */
export type Verdicts = readonly (readonly string[])[];

export interface GpgvResult {
  readonly verdicts: Verdicts;
  /** The text inside of a signed message; null beside a detached signature, or where there is none. */
  readonly signed: Buffer | null;
}

const MiB = 2 ** 20;
const limits = [`--data=${512 * MiB}`, `--fsize=${16 * MiB}`, '--core=0', '--'];
/** `--weak-digest`: a signature over SHA-1 can be forged. */
const gpgvOptions = [
  ...['--homedir', '/proc/self/cwd', '--status-fd', '3', '--weak-digest', 'SHA1'],
  ...['--output', './signed'],
];

/** A file that this process can read; gpgv gets its bytes alone. */
export interface SignedFile {
  readonly path: string;
}

/** Time for a signed text, and for a whole file: gpgv hashes some 200 MB a second. */
const textMs = 30_000;
const fileMs = 600_000;

/**
 * Runs gpgv over a detached signature of `content`, or with null over `content` as a signed message (RFC 9580 section
 * 7). `keyrings` are contents of keyrings: packets, or a keybox. Throws `tool.failed` where gpgv does not run.
 */
export async function runGpgv(
  content: Uint8Array | SignedFile,
  signature: Uint8Array | null,
  keyrings: readonly Uint8Array[],
  { workDirectory, unprivilegedIds, signal }: GpgvOptions,
): Promise<GpgvResult> {
  await using tool = await openToolHome(workDirectory, 'signature-', unprivilegedIds);
  const { path: home, user } = tool;
  const isText = content instanceof Uint8Array;
  if (isText) await writeFile(join(home, 'content'), content);
  if (signature !== null) await writeFile(join(home, 'signature'), signature);
  for (const [index, keyring] of keyrings.entries()) await writeFile(join(home, `keyring-${index}`), keyring);
  await giveTo(user, home);
  const verdicts: string[][] = [];
  const timeoutMs = isText ? textMs : fileMs;
  const seconds = timeoutMs / 1000;
  await exec(
    'prlimit',
    [
      ...[
        `--cpu=${seconds}`,
        ...limits,
        'gpgv',
        ...gpgvOptions,
        ...keyrings.flatMap((_, index) => ['--keyring', `./keyring-${index}`]),
      ],
      ...(signature === null ? [] : ['./signature']),
      isText ? './content' : '-',
    ],
    {
      ...{ user, cwd: home, signal, timeoutMs, okExitCodes: [0, 1, 2] },
      ...(isText ? {} : { input: createReadStream(content.path, { highWaterMark: MiB }) }),
      onStatusLine: (line) => verdicts.push(line.split(' ').slice(1)),
    },
  );
  if (signature !== null || !isText) return { verdicts, signed: null };
  const signed = await readForeignFile(join(home, 'signed'), content.length).catch((error: unknown) => {
    if (isNodeError(error) && error.code === 'ENOENT') return null;
    throw error;
  });
  return { verdicts, signed };
}

/** A good signature, by the fingerprints of its keys: 40 or more hexadecimal digits in upper case. */
export interface GoodSignature {
  /** The primary key. */
  readonly primary: string;
  /** The key that has signed: the primary key itself, or one of its subkeys. */
  readonly signing: string;
}

/**
 * The good signatures among verdicts. Each signature begins with its verdict, and VALIDSIG after GOODSIG has the
 * fingerprint of the primary key as its tenth field.
 */
export function goodSignatures(verdicts: Verdicts): GoodSignature[] {
  const found: GoodSignature[] = [];
  let good = false;
  for (const [keyword, ...fields] of verdicts) {
    if (keyword === 'GOODSIG') good = true;
    else if (keyword === 'NEWSIG' || /^(BAD|ERR|EXP|EXPKEY|REVKEY)SIG$/.test(keyword ?? '')) good = false;
    else if (keyword === 'VALIDSIG' && good) {
      const { 0: signing, 9: primary } = fields;
      if (signing !== undefined && primary !== undefined) found.push({ primary, signing });
      good = false;
    }
  }
  return found;
}
