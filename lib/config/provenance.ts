import type { KeyObject } from 'node:crypto';
import type { RequestFault } from '../errors.ts';
import { readSigningKey } from '../signing-keys.ts';
import { type Secrets, secretFiles } from './secrets.ts';

/** The signed provenance of images. */
export interface ProvenanceSettings {
  /** Null: none is written. */
  readonly provenanceKey: KeyObject | null;
  /** URI of the service, as the provenance names its builder. */
  readonly builderId: string;
}

/** The key among the secrets; adds to `faults` what is wrong with it. `publicUrl`: that of the API; empty: unknown. */
export function readProvenance(secrets: Secrets, publicUrl: string, faults: RequestFault[]): ProvenanceSettings {
  const builderId = publicUrl || 'urn:imagebuilder:builder';
  const text = secrets.provenanceSigningKey;
  if (text === null) return { provenanceKey: null, builderId };
  const { key, fault } = readSigningKey(text);
  if (fault !== null) faults.push({ path: `secret ${secretFiles.provenanceSigningKey.file}`, message: fault });
  return { provenanceKey: key, builderId };
}
