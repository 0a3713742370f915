import type { KeyObject } from 'node:crypto';
import type { RequestFault } from '../errors.ts';
import { type OpenPgpKey, readOpenPgpKey } from '../openpgp/signing-key.ts';
import { readSigningKey } from '../signing-keys.ts';
import { type Secrets, secretFiles } from './secrets.ts';

/** The keys that sign images, and what says where they come from. */
export interface ProvenanceSettings {
  /** Null: images have no signature beside them. */
  readonly imageKey: OpenPgpKey | null;
  /** Null: none is written. */
  readonly provenanceKey: KeyObject | null;
  /** URI of the service, as the provenance names its builder. */
  readonly builderId: string;
}

/** The keys among the secrets; adds to `faults` what is wrong with them. `publicUrl`: that of the API; empty: unknown. */
export function readProvenance(secrets: Secrets, publicUrl: string, faults: RequestFault[]): ProvenanceSettings {
  const builderId = publicUrl || 'urn:imagebuilder:builder';
  const { imageSigningKey, provenanceSigningKey } = secrets;
  const read = <Key>(text: string | null, file: string, parse: (text: string) => ReadKey<Key>): Key | null => {
    if (text === null) return null;
    const { key, fault } = parse(text);
    if (fault !== null) faults.push({ path: `secret ${file}`, message: fault });
    return key;
  };
  return {
    imageKey: read(imageSigningKey, secretFiles.imageSigningKey.file, (text) => readOpenPgpKey(text, new Date())),
    provenanceKey: read(provenanceSigningKey, secretFiles.provenanceSigningKey.file, readSigningKey),
    builderId,
  };
}

type ReadKey<Key> = { readonly key: Key | null; readonly fault: string | null };
