import { ImageBuilderError } from '../errors.ts';
import { signFile } from '../openpgp/sign.ts';
import type { OpenPgpKey } from '../openpgp/signing-key.ts';
import { type Artifacts, type OtherArtifact, stemOf } from '../store/artifact.ts';
import { writeArtifact } from '../store/write-artifact.ts';

/** Throws `config.invalid` for a key that has expired since the worker started: nobody would trust its signatures. */
export function assertNotExpired(key: OpenPgpKey | null): void {
  if (key === null || key.expiresAt === null || key.expiresAt > new Date()) return;
  const day = key.expiresAt.toISOString().slice(0, 10);
  throw new ImageBuilderError('config.invalid', `the secret image-signing-key has a key that expired on ${day}`);
}

/** The signatures of an image, and of the description that the build has made of it; none without a key. */
export async function signImage(
  [image, ...others]: Artifacts,
  key: OpenPgpKey | null,
  directory: string,
  signal: AbortSignal,
): Promise<OtherArtifact[]> {
  if (key === null) return [];
  assertNotExpired(key);
  // The parts of a release come with descriptions of their own, and with signatures.
  const companion = others.filter(({ name }) => name === `${stemOf(image)}.json`);
  const signatures: OtherArtifact[] = [];
  for (const { name, path } of [image, ...companion]) {
    const text = await signFile(path, key, new Date(), signal);
    const mediaType = 'application/pgp-signature';
    signatures.push(await writeArtifact({ role: 'signature', name: `${name}.asc`, mediaType }, text, directory));
  }
  return signatures;
}
