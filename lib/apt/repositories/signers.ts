import { type GoodSignature, type GpgvOptions, goodSignatures, runGpgv } from '../../gpgv.ts';
import { removeArmor } from '../../openpgp/armor.ts';
import { someOf } from '../../text.ts';
import type { SignedBy } from '../outside/sources.ts';
import type { RepositoryFiles, Signer } from './repository.ts';

/** A Release file: a signed message (InRelease), or with its detached signature (Release.gpg), which may be missing. */
export interface SignedRelease {
  readonly content: Buffer;
  readonly signature: Buffer | null;
  readonly isMessage: boolean;
}

export interface FoundSigners {
  readonly signers: readonly Signer[];
  /** The text that is signed; without signers, the content as it is. */
  readonly text: string;
  /** The reason why there are no signers; null where there are. */
  readonly notKnown: string | null;
}

/**
 * Verifies a Release file with the keys that a source trusts: those of its Signed-By, or all trusted ones of the image.
 * Throws the reason of the signal.
 */
export async function findSigners(
  { content, signature, isMessage }: SignedRelease,
  signedBy: SignedBy | null,
  files: Pick<RepositoryFiles, 'trusted' | 'keyrings'>,
  options: GpgvOptions,
): Promise<FoundSigners> {
  const unproven = (notKnown: string) => ({ signers: [], text: content.toString('utf8'), notKnown });
  if (!isMessage && signature === null) return unproven('a signature: there is none');
  const keyrings = keyringsOf(signedBy, files);
  if (keyrings.length === 0) return unproven('the key that has signed: the image has none for this source');
  if (keyrings.length > maximumKeyrings || sum(keyrings) > maximumKeyringBytes) {
    return unproven('the key that has signed: the image trusts more keys than are read');
  }
  const result = await runGpgv(content, isMessage ? null : signature, keyrings, options).catch(() => null);
  options.signal.throwIfAborted();
  if (result === null) return unproven('the key that has signed: gpgv has failed');
  const { verdicts, signed } = result;
  const text = isMessage ? signed : content;
  const has = (...keywords: readonly string[]) => verdicts.some(([keyword = '']) => keywords.includes(keyword));
  if (has('BADSIG')) return unproven('the key that has signed: a signature does not match the file');
  const signers = signersOf(goodSignatures(verdicts), signedBy?.fingerprints ?? []);
  if (signers.length > 0 && text !== null) return { signers, text: text.toString('utf8'), notKnown: null };
  if (has('EXPSIG', 'EXPKEYSIG')) return unproven('the key that has signed: the signature or its key has expired');
  if (has('REVKEYSIG')) return unproven('the key that has signed: it was revoked');
  const keys = [...new Set(verdicts.flatMap(([keyword, key]) => (keyword === 'NO_PUBKEY' && key ? [key] : [])))];
  const missing = keys.length === 0 ? '' : ` (${someOf(keys)})`;
  return unproven(`the key that has signed: it is none that the source trusts${missing}`);
}

/** All of Debian's and Ubuntu's are some 200 KiB in twenty files. */
const maximumKeyrings = 200;
const maximumKeyringBytes = 4 * 2 ** 20;

const sum = (contents: readonly Buffer[]) => contents.reduce((bytes, { length }) => bytes + length, 0);

/** The keys that a source trusts, as gpgv reads them. apt, too, leaves out keyboxes. */
function keyringsOf(signedBy: SignedBy | null, { trusted, keyrings }: Pick<RepositoryFiles, 'trusted' | 'keyrings'>) {
  const named = signedBy?.paths ?? [];
  const all =
    signedBy !== null && signedBy.armor.length > 0
      ? [Buffer.from(signedBy.armor.join('\n'))]
      : named.length > 0
        ? named.flatMap((path) => keyrings.get(path) ?? [])
        : trusted.map(({ content }) => content);
  return all
    .filter((content) => content.toString('latin1', 8, 12) !== 'KBXf')
    .map((content) => (isArmored(content) ? removeArmor(content.toString('latin1')) : content))
    .filter((content) => content.length > 0);
}

function isArmored(content: Buffer): boolean {
  return content.includes('-----BEGIN PGP PUBLIC KEY BLOCK-----');
}

/** Repositories have up to four. */
const maximumSigners = 50;

/** `fingerprints` are of keys, whose subkeys count too, or with `!` at the end of exactly one. Empty: any key. */
function signersOf(signatures: readonly GoodSignature[], fingerprints: readonly string[]): Signer[] {
  const wanted = new Set(fingerprints.map((entry) => entry.toUpperCase()));
  const isWanted = ({ primary, signing }: GoodSignature) =>
    wanted.size === 0 || wanted.has(primary) || wanted.has(signing) || wanted.has(`${signing}!`);
  const found = new Map(signatures.filter(isWanted).map((each) => [each.signing, each]));
  return [...found.values()].slice(0, maximumSigners).map(({ primary, signing }) => ({
    fingerprint: primary,
    subkey: signing === primary ? null : signing,
  }));
}
