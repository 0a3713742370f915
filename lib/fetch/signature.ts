import { access, readFile } from 'node:fs/promises';
import { ImageBuilderError } from '../errors.ts';
import { type GpgvOptions, goodSignatures, runGpgv, type Verdicts } from '../gpgv.ts';
import { someOf } from '../text.ts';

export interface SignatureOptions extends GpgvOptions {
  /** Files with the OpenPGP public keys that the operator trusts, as gpgv(1) reads them: packets or a keybox. */
  readonly keyrings: readonly string[];
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

/**
 * Checks the signature of an untrusted text: a detached one, or with null the one inside of the text (a signed message,
 * RFC 9580 section 7). `what` names the text in messages. Throws `image.checksum` where a signature is wrong, or its key
 * was revoked. A signature by a key that no keyring has proves nothing: then `signedBy` is null.
 */
export async function checkSignature(
  content: Buffer,
  signature: Buffer | null,
  what: string,
  options: SignatureOptions,
): Promise<SignedText> {
  const { verdicts, signed } = await runGpgv(content, signature, await readKeyrings(options), options);
  const signedBy = goodSigner(verdicts, what);
  const text = signature === null ? signed : content;
  if (signedBy !== null && text !== null) return { text: text.toString('utf8'), signedBy, reason: '' };
  return { text: content.toString('utf8'), signedBy: null, reason: whyUnproven(verdicts) };
}

/** As `checkSignature`, for the detached signature of a whole file. */
export async function checkFileSignature(
  path: string,
  signature: Buffer,
  what: string,
  options: SignatureOptions,
): Promise<Omit<SignedText, 'text'>> {
  const { verdicts } = await runGpgv({ path }, signature, await readKeyrings(options), options);
  const signedBy = goodSigner(verdicts, what);
  return { signedBy, reason: signedBy === null ? whyUnproven(verdicts) : '' };
}

async function readKeyrings({ keyrings }: SignatureOptions): Promise<Buffer[]> {
  const contents: Buffer[] = [];
  for (const path of keyrings) contents.push(await readKeyring(path));
  return contents;
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

/** The primary key of a good signature; null where there is none. */
function goodSigner(verdicts: Verdicts, what: string): string | null {
  const wrong = verdicts.find(([keyword]) => keyword === 'BADSIG' || keyword === 'REVKEYSIG');
  if (wrong !== undefined) {
    const how = wrong[0] === 'BADSIG' ? 'does not match it' : 'is by a key that was revoked';
    throw new ImageBuilderError('image.checksum', `the signature of ${what} ${how} (key ${wrong[1] ?? 'unknown'})`);
  }
  return goodSignatures(verdicts)[0]?.primary ?? null;
}

function whyUnproven(verdicts: Verdicts): string {
  const expired = verdicts.find(([keyword]) => keyword === 'EXPKEYSIG' || keyword === 'EXPSIG');
  if (expired !== undefined) return `the signature or its key (${expired[1] ?? 'unknown'}) has expired`;
  const keys = verdicts.flatMap(([keyword, key]) => (keyword === 'NO_PUBKEY' && key !== undefined ? [key] : []));
  return keys.length === 0
    ? 'it holds no signature that gpgv accepts'
    : `no keyring of IMAGEBUILDER_BASE_IMAGE_KEYRINGS has the key ${someOf(keys)}`;
}
