import { access, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError } from '../errors.ts';
import { exec } from '../exec.ts';
import type { IdRange } from '../privileges.ts';
import { someOf } from '../text.ts';
import { giveTo, openToolHome, readForeignFile } from '../unprivileged.ts';

export interface SignatureOptions {
  /** Files with the OpenPGP public keys that the operator trusts, as gpgv(1) reads them: packets or a keybox. */
  readonly keyrings: readonly string[];
  /** A folder for gpgv's temporary files. */
  readonly workDirectory: string;
  /** The user ids for gpgv where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** A text, and the key that has signed it. */
export interface SignedText {
  /** The text that the signature covers. */
  readonly text: string;
  /** Fingerprint of the primary key of a good signature: 40 or more hexadecimal digits. Null where there is none. */
  readonly signedBy: string | null;
  /** The reason where `signedBy` is null, for people. */
  readonly reason: string;
}

/** Where Debian's packages of publishers' keys put them: Ubuntu's key of cloud images. */
const publishersKeyrings = ['/usr/share/keyrings/ubuntu-cloudimage-keyring.gpg'];

/** The keyrings that the operator names; with null those of publishers, as far as they are installed. */
export async function keyringFiles(named: readonly string[] | null): Promise<readonly string[]> {
  if (named !== null) return named;
  const found = await Promise.all(
    publishersKeyrings.map((path) =>
      access(path).then(
        () => [path],
        () => [],
      ),
    ),
  );
  return found.flat();
}

const MiB = 2 ** 20;
const limits = ['--cpu=30', `--data=${512 * MiB}`, `--fsize=${16 * MiB}`, '--core=0', '--'];
/** `--weak-digest`: a signature over SHA-1 can be forged. */
const gpgvOptions = [
  '--homedir',
  '/proc/self/cwd',
  '--status-fd',
  '3',
  '--weak-digest',
  'SHA1',
  '--output',
  './signed',
];

/**
 * Checks the signature of an untrusted text: a detached one, or with null the one inside of the text (a signed message,
 * RFC 9580 section 7). `what` names the text in messages. Throws `image.checksum` where a signature is wrong, or its key
 * was revoked. A signature by a key that no keyring has proves nothing: then `signedBy` is null.
 */
export async function checkSignature(
  content: Buffer,
  signature: Buffer | null,
  what: string,
  { keyrings, workDirectory, unprivilegedIds, signal }: SignatureOptions,
): Promise<SignedText> {
  await using tool = await openToolHome(workDirectory, 'signature-', unprivilegedIds);
  const { path: home, user } = tool;
  await writeFile(join(home, 'content'), content);
  if (signature !== null) await writeFile(join(home, 'signature'), signature);
  for (const [index, path] of keyrings.entries()) {
    await writeFile(join(home, `keyring-${index}`), await readKeyring(path));
  }
  await giveTo(user, home);
  const verdicts: string[][] = [];
  await exec(
    'prlimit',
    [
      ...[...limits, 'gpgv', ...gpgvOptions, ...keyrings.flatMap((_, index) => ['--keyring', `./keyring-${index}`])],
      ...(signature === null ? ['./content'] : ['./signature', './content']),
    ],
    {
      ...{ user, cwd: home, signal, timeoutMs: 30_000, okExitCodes: [0, 1, 2] },
      onStatusLine: (line) => verdicts.push(line.split(' ').slice(1)),
    },
  );
  const signedBy = goodSigner(verdicts, what);
  if (signedBy === null) return { text: content.toString('utf8'), signedBy, reason: whyUnproven(verdicts) };
  const text = signature === null ? await readForeignFile(join(home, 'signed'), content.length) : content;
  return { text: text.toString('utf8'), signedBy, reason: '' };
}

async function readKeyring(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new ImageBuilderError('config.invalid', `IMAGEBUILDER_BASE_IMAGE_KEYRINGS: ${path} cannot be read`, {
      cause,
    });
  }
}

/**
 * The primary key of a good signature, by gpgv's status lines (GnuPG's doc/DETAILS): each signature begins with its
 * verdict, and VALIDSIG after GOODSIG has the fingerprint of the primary key as its tenth field.
 */
function goodSigner(verdicts: readonly (readonly string[])[], what: string): string | null {
  const wrong = verdicts.find(([keyword]) => keyword === 'BADSIG' || keyword === 'REVKEYSIG');
  if (wrong !== undefined) {
    const how = wrong[0] === 'BADSIG' ? 'does not match it' : 'is by a key that was revoked';
    throw new ImageBuilderError('image.checksum', `the signature of ${what} ${how} (key ${wrong[1] ?? 'unknown'})`);
  }
  const good = verdicts.findIndex(([keyword]) => keyword === 'GOODSIG');
  if (good < 0) return null;
  return verdicts.slice(good).find(([keyword]) => keyword === 'VALIDSIG')?.[10] ?? null;
}

function whyUnproven(verdicts: readonly (readonly string[])[]): string {
  const expired = verdicts.find(([keyword]) => keyword === 'EXPKEYSIG' || keyword === 'EXPSIG');
  if (expired !== undefined) return `the signature or its key (${expired[1] ?? 'unknown'}) has expired`;
  const keys = verdicts.flatMap(([keyword, key]) => (keyword === 'NO_PUBKEY' && key !== undefined ? [key] : []));
  return keys.length === 0
    ? 'it holds no signature that gpgv accepts'
    : `no keyring of IMAGEBUILDER_BASE_IMAGE_KEYRINGS has the key ${someOf(keys)}`;
}
