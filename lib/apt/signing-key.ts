import { createHash } from 'node:crypto';
import { ImageBuilderError } from '../errors.ts';
import { ExecError, exec } from '../exec.ts';
import { removeArmor } from '../openpgp/armor.ts';
import type { IdRange } from '../privileges.ts';
import { someOf } from '../text.ts';
import { giveTo, openToolHome } from '../unprivileged.ts';

/** An OpenPGP public key that signs a repository, exactly one primary key, in the two forms that apt reads. */
export interface SigningKey {
  /** 40 hex digits in upper case, computed from the key itself. */
  readonly fingerprint: string;
  /** ASCII armour; apt 1.4 and later. */
  readonly armored: string;
  /** OpenPGP packets; every apt. */
  readonly binary: Uint8Array;
  /** A warning for the user, such as about a key that new releases of apt refuse; null when there is nothing to say. */
  readonly weakness: string | null;
}

export interface SigningKeyOptions {
  /** A folder for gpg's temporary files. */
  readonly workDirectory: string;
  /** The user ids for gpg where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

const MiB = 2 ** 20;
/** Material is at most 1 MiB, but may be compressed. */
const limits = ['--cpu=30', `--data=${512 * MiB}`, `--fsize=${64 * MiB}`, '--core=0', '--'];
/**
 * Imports the keys on standard input by the command of the further arguments, lists them, and then prints the key with the
 * fingerprint `$1` in armour, if it is there. One start of a shell takes less than three of gpg by the worker. gpg ends
 * with 2 although it has imported the key, where the path of the agent's socket would be too long: the listing decides.
 */
const takeKey = `
fingerprint=$1
shift
"$@" --import || [ $? = 2 ] || exit
"$@" --with-colons --fixed-list-mode --list-keys || exit
"$@" --export-options export-minimal --armor --export -- "$fingerprint" || :
`;
const gpgOptions = ['--batch', '--no-tty', '--no-autostart'];

/**
 * Keys by the digest of what they were taken out of, the oldest first: builds with the same PPAs come one after the other,
 * and to ask gpg takes a dozen processes.
 */
const known = new Map<string, ReadKey>();
const maximumKnown = 64;
const maximumKnownCharacters = 256 * 1024;

/**
 * Takes only the key with this fingerprint out of untrusted key material. Throws `ppa.key` where the material is no key
 * or holds another one. `owner` names the repository in messages.
 */
export async function readSigningKey(
  material: string,
  fingerprint: string,
  owner: string,
  options: SigningKeyOptions,
): Promise<SigningKey> {
  const name = createHash('sha256').update(`${fingerprint}\n${material}`).digest('hex');
  const before = known.get(name);
  if (before !== undefined && Date.now() < before.untilMs) return before.key;
  const read = await readWithGpg(material, fingerprint, owner, options);
  if (read.key.armored.length > maximumKnownCharacters) return read.key;
  known.delete(name);
  known.set(name, read);
  const [oldest] = known.keys();
  if (known.size > maximumKnown && oldest !== undefined) known.delete(oldest);
  return read.key;
}

interface ReadKey {
  readonly key: SigningKey;
  /** When its weakness may be another one, by `Date.now()`. */
  readonly untilMs: number;
}

async function readWithGpg(
  material: string,
  fingerprint: string,
  owner: string,
  { workDirectory, unprivilegedIds, signal }: SigningKeyOptions,
): Promise<ReadKey> {
  await using tool = await openToolHome(workDirectory, 'key-', unprivilegedIds);
  const { path: home, user } = tool;
  await giveTo(user, home);
  // gpg gets a home of its own: it sees no key of the worker's, and needs no agent for public keys. Its user may be
  // unable to pass the folders above.
  const gpg = ['gpg', '--homedir', '/proc/self/cwd', ...gpgOptions];
  try {
    const { stdout } = await exec('prlimit', [...limits, 'sh', '-c', takeKey, 'key', fingerprint, ...gpg], {
      ...{ user, cwd: home, signal, timeoutMs: 30_000, input: material },
    });
    // No line of the listing begins like armour.
    const [listing = '', armour = ''] = stdout.split(/^(?=-----BEGIN )/m);
    const keys = parseKeyListing(listing);
    if (keys.length === 0) throw noKey(owner);
    const key = keys.find((entry) => entry.fingerprint === fingerprint.toUpperCase());
    if (key === undefined) {
      throw new ImageBuilderError(
        'ppa.key',
        `the signing key that was served for ${owner} has the fingerprint ${someOf(
          keys.map((entry) => entry.fingerprint),
        )}, but Launchpad says ${fingerprint}`,
      );
    }
    if (armour === '') throw noKey(owner);
    const { expires } = key;
    return {
      key: {
        fingerprint: key.fingerprint,
        armored: armour,
        binary: removeArmor(armour),
        weakness: weaknessOf(key),
      },
      untilMs: expires === null || key.validity === 'e' ? Number.POSITIVE_INFINITY : expires * 1000,
    };
  } catch (error) {
    if (!(error instanceof ExecError) || error.exitCode === undefined) throw error;
    throw noKey(owner, error);
  }
}

function noKey(owner: string, cause?: unknown): ImageBuilderError {
  return new ImageBuilderError('ppa.key', `what was served as the signing key of ${owner} is not an OpenPGP key`, {
    cause,
  });
}

export interface ListedKey {
  readonly fingerprint: string;
  /** OpenPGP algorithm number (RFC 4880 section 9.1): 1 to 3 RSA, 17 DSA. */
  readonly algorithm: number;
  readonly bits: number;
  /** GnuPG's letter: `e` expired, `r` revoked. */
  readonly validity: string;
  /** The second since 1970 in which it expires; null for never. */
  readonly expires: number | null;
}

/** Primary keys of `gpg --with-colons` (GnuPG's doc/DETAILS): the first `fpr` record after a `pub` is its own. */
export function parseKeyListing(text: string): ListedKey[] {
  const keys: ListedKey[] = [];
  let open: readonly string[] | null = null;
  for (const line of text.split('\n')) {
    const fields = line.split(':');
    if (fields[0] === 'pub') open = fields;
    if (fields[0] !== 'fpr' || open === null) continue;
    const [, validity = '', bits, algorithm, , , expires = ''] = open;
    keys.push({
      ...{ fingerprint: fields[9] ?? '', algorithm: Number(algorithm), bits: Number(bits), validity },
      expires: /^[0-9]{1,12}$/.test(expires) ? Number(expires) : null,
    });
    open = null;
  }
  return keys;
}

function weaknessOf(key: ListedKey): string | null {
  if (key.validity === 'e') return 'it has expired';
  if (key.validity === 'r') return 'it was revoked';
  if (key.algorithm === 17) return 'it is a DSA key, which apt 2.7.13 and later warn of or refuse';
  if (key.algorithm <= 3 && key.bits < 2048) {
    return `it has only ${key.bits} bits (RSA), which apt 2.7.13 and later warn of or refuse`;
  }
  return null;
}
