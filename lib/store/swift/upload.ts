import { createHash } from 'node:crypto';
import { type RetryPolicy, retrying } from '../../http/retrying.ts';
import type { Log } from '../../log.ts';
import { type Artifact, type LogOrigin, type Origin, sumProgress } from '../artifact.ts';
import { inParallel } from '../in-parallel.ts';
import { storeError } from '../openstack/error.ts';
import type { StorePutOptions } from '../store.ts';
import type { Container, ManifestEntry } from './api.ts';
import type { Segment } from './limits.ts';
import { headersOf, objectPrefix, segmentName } from './object.ts';

const parallelSegments = 4;
/** Most attempts to send one segment, or an object in one piece. */
const uploadAttempts = 8;

export interface UploadInputs {
  readonly folder: string;
  /** Separates the uploads of two workers at once. */
  readonly attempt: string;
  /** Everything that the folder is to have. */
  readonly artifacts: readonly Artifact[];
  readonly origin: Origin | LogOrigin;
  readonly container: Container;
}

/** One attempt to upload artifacts. */
export function createUpload(
  { folder, attempt, artifacts, origin, container }: UploadInputs,
  { signal: stop, onProgress, retry, log }: { readonly retry: RetryPolicy; readonly log: Log } & StorePutOptions,
) {
  const written = new Set<string>();
  const report = sumProgress(artifacts, onProgress);
  let segmentsBefore = 0;

  /** Sends one part of a file until Swift has exactly the bytes that were read, and resolves with its MD5. */
  function sendPart(
    name: string,
    path: string,
    { startByte, bytes }: Segment,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<string> {
    written.add(name);
    return retrying(
      async () => {
        const digest = createHash('md5');
        const body = { path, startByte, bytes, digest, onProgress: (sent: number) => report(name, sent) };
        const etag = await container.upload(name, body, headers, { signal });
        const md5 = digest.digest('hex');
        if (etag === md5) return md5;
        throw storeError(`Swift has stored ${name} with another content than was sent`, { transient: true });
      },
      {
        signal,
        policy: { ...retry, attempts: uploadAttempts },
        onRetry: (error, attempts) => {
          report(name, 0);
          log.warn('an upload failed and starts anew', { store: 'swift', object: name, attempt: attempts, error });
        },
      },
    );
  }

  return {
    /** All objects that may have been written. */
    names: () => [...written],
    async send(artifact: Artifact, segments: readonly Segment[]): Promise<void> {
      const name = objectPrefix(folder) + artifact.name;
      const headers = headersOf(artifact, origin, artifacts.length);
      const [whole] = segments;
      if (whole !== undefined && segments.length === 1) {
        await sendPart(name, artifact.path, whole, headers, stop);
        return;
      }
      const first = segmentsBefore;
      segmentsBefore += segments.length;
      const entries: ManifestEntry[] = [];
      await inParallel(segments, parallelSegments, stop, async (segment, index, signal) => {
        const partName = segmentName(folder, attempt, first + index);
        const etag = await sendPart(partName, artifact.path, segment, {}, signal);
        entries[index] = { name: partName, etag, bytes: segment.bytes };
      });
      written.add(name);
      await container.putManifest(name, entries, headers, { signal: stop });
    },
  };
}
