import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Artifacts, Origin } from './artifact.ts';
import type { Store } from './store.ts';

/** The common part of the checks of stores: a tiny image that takes the way of a finished one, and is removed. */

const tinyBytes = 64 * 1024;

/** Describes the room that a quota leaves; null for an unknown one. Throws where the tiny image has none. */
export function describeRoom(bytes: number | null): string {
  if (bytes === null) return 'none is known';
  if (bytes < tinyBytes)
    throw new Error(`the quota leaves ${Math.max(0, bytes)} bytes; delete something, or have it raised`);
  return `leaves ${Math.floor(bytes / 1024 ** 2)} MiB`;
}

/** Puts an image of random bytes, which the store itself verifies, and removes it. */
export async function tryStore(store: Pick<Store, 'put' | 'remove'>, signal: AbortSignal): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-store-check-'));
  try {
    const origin = { ...tinyOrigin, buildId: randomUUID() };
    await store.put(await tinyImage(directory), origin, { signal, onProgress: () => {} });
    await store.remove(origin.buildId, { signal });
    return `${tinyBytes} bytes put, verified and removed again`;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const tinyOrigin: Omit<Origin, 'buildId'> = {
  ticketId: 'store-check',
  series: 'check',
  baseImageSha256: '0'.repeat(64),
  architecture: 'amd64',
  distribution: 'check',
  distributionVersion: '0',
};

async function tinyImage(directory: string): Promise<Artifacts> {
  const content = randomBytes(tinyBytes);
  const digest = (algorithm: string) => createHash(algorithm).update(content).digest('hex');
  const path = join(directory, 'check.raw');
  await writeFile(path, content);
  return [
    {
      role: 'image',
      name: 'imagebuilder-store-check.raw',
      mediaType: 'application/octet-stream',
      path,
      sizeBytes: content.length,
      checksums: { sha256: digest('sha256'), sha512: digest('sha512') },
      format: 'raw',
    },
  ];
}
