import { createHash } from 'node:crypto';
import { formatPpa } from '../api/ppa.ts';
import type { BuildRequest } from '../api/request.ts';
import type { PpaSource } from '../apt/launchpad.ts';
import type { FetchedFile } from '../fetch/base-images.ts';
import type { Guest } from '../guest/guest.ts';
import type { ImageKind } from '../kinds/kind.ts';
import { version } from '../version.ts';
import type { BuildTools } from './context.ts';

export interface KeyedBuild {
  readonly request: BuildRequest;
  readonly caller: string | null;
  /** The base image, or the files of its release. */
  readonly files: readonly FetchedFile[];
  readonly sources: readonly PpaSource[];
  readonly kind: Pick<ImageKind, 'baseFile'>;
  readonly guest: Pick<Guest, 'kind'>;
  /** Whether the finished image is booted, by wish of the request or of the operator. */
  readonly isBooted: boolean;
}

/**
 * A digest of everything beside the repositories that decides about the bytes of an image, or about who may have them: two
 * builds with the same key give the same image where apt would install the same. Callers share nothing: the answers
 * for debconf can be secrets, and a caller that guesses them must not learn from `reused` whether they are right.
 */
export function requestKey(build: KeyedBuild, settings: BuildTools['settings']): string {
  const { request, caller, files, sources, kind, guest, isBooted } = build;
  // Members that do not change the image. All others count, new ones included.
  const { ticket_id, cancel_url, progress_trigger, callback_url, reuse, boot_check, base_image, ppa_list, ...wanted } =
    request;
  const { url_list, checksum, ...base } = base_image;
  const { installRecommends, vmNetwork, compression, xzPreset, maximumVirtualBytes, maximumPackages } = settings;
  const parts = {
    ...{ version, caller, guest: guest.kind, isBooted, base, wanted },
    settings: { installRecommends, vmNetwork, compression, xzPreset, maximumVirtualBytes, maximumPackages },
    // Without a key nobody has looked at the repositories.
    isProven: settings.provenanceKey !== null,
    files: files.map((file) => (kind.baseFile.mayHaveParts === true ? describePart(file) : file.sha256)),
    sources: sources.map(({ ppa, url, key }) => [formatPpa(ppa), url, key.fingerprint, key.armored]),
  };
  return digest(JSON.stringify(parts));
}

/** The parts of a release keep their names, and what lies beside them is described anew. */
function describePart({ sha256, fileName, isNamed, beside }: FetchedFile) {
  return [sha256, fileName, isNamed, beside.map(({ name, content }) => [name, digest(content)])];
}

function digest(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
