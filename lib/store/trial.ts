import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderEmptyQcow2 } from '../empty-qcow2.ts';
import { UpstreamError } from '../http/upstream-error.ts';
import type { Artifacts, Origin } from './artifact.ts';
import type { Store } from './store.ts';

/** The common part of the checks of stores: a tiny image that takes the way of a finished one, and is removed. */

const clusterBytes = 64 * 1024;
const tinyBytes = 4 * clusterBytes;

/** Describes the room that a quota leaves; null for an unknown one. Throws where the tiny image has none. */
export function describeRoom(bytes: number | null): string {
  if (bytes === null) return 'none is known';
  if (bytes < tinyBytes)
    throw new Error(`the quota leaves ${Math.max(0, bytes)} bytes; delete something, or have it raised`);
  return `leaves ${Math.floor(bytes / 1024 ** 2)} MiB`;
}

type TrialFormat = 'qcow2' | 'raw';

/**
 * Puts an empty disk in the format of most builds, which the store itself verifies, and removes it; then in the others,
 * of which a refusal is only noted.
 */
export async function tryStore(
  store: Pick<Store, 'put' | 'remove'>,
  signal: AbortSignal,
  [usual, ...others]: readonly [TrialFormat, ...TrialFormat[]],
): Promise<string> {
  await tryFormat(store, usual, signal);
  const taken: string[] = [usual];
  const refused: string[] = [];
  for (const format of others) {
    try {
      await tryFormat(store, format, signal);
      taken.push(format);
    } catch (error) {
      if (!(error instanceof UpstreamError) || error.transient) throw error;
      refused.push(`; output_format ${format} would fail: ${error.message}`);
    }
  }
  return `an empty ${taken.join(' and ')} image put, verified and removed again${refused.join('')}`;
}

async function tryFormat(store: Pick<Store, 'put' | 'remove'>, format: TrialFormat, signal: AbortSignal) {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-store-check-'));
  try {
    const origin = { ...tinyOrigin, buildId: randomUUID() };
    await store.put(await tinyImage(directory, format), origin, { signal, onProgress: () => {} });
    await store.remove(origin.buildId, { signal });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const tinyOrigin: Omit<Origin, 'buildId'> = {
  ticketId: 'store-check',
  series: 'check',
  caller: null,
  baseImageSha256: '0'.repeat(64),
  architecture: 'amd64',
  distribution: 'check',
  distributionVersion: '0',
};

async function tinyImage(directory: string, format: TrialFormat): Promise<Artifacts> {
  const content = format === 'qcow2' ? emptyQcow2() : Buffer.alloc(tinyBytes);
  const digest = (algorithm: string) => createHash(algorithm).update(content).digest('hex');
  const path = join(directory, `check.${format}`);
  await writeFile(path, content);
  return [
    {
      role: 'image',
      name: `imagebuilder-store-check.${format}`,
      mediaType: 'application/octet-stream',
      path,
      sizeBytes: content.length,
      checksums: { sha256: digest('sha256'), sha512: digest('sha512') },
      format,
    },
  ];
}

/** An empty disk of 1 MiB, of which the header, the refcount table, the refcount block and the L1 table take a cluster each. */
function emptyQcow2(): Buffer {
  const { parts, fileBytes } = renderEmptyQcow2({ clusterBytes, virtualSizeBytes: 1024 * 1024 });
  const image = Buffer.alloc(fileBytes);
  for (const { offset, bytes } of parts) bytes.copy(image, offset);
  return image;
}
