import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { isNodeError } from '../errors.ts';
import { lock, tryLockFolder } from '../lock.ts';
import { readRoom, usedBytes } from './space-usage.ts';

/**
 * The claims of the builds on this machine, so that parallel builds, of other processes too, do not all count on the
 * same free space: the file `space.json` in each work directory.
 */
const fileName = 'space.json';

const Claim = z.object({
  /** By device number: bytes that were still to be written when the claim was made. */
  bytes: z.record(z.string(), z.number()),
  /** Bytes that the work directory took then. */
  usedBytes: z.number(),
});
export type Claim = z.infer<typeof Claim>;

/** Holds the lock under which claims are weighed and made. */
export async function lockClaims(root: string, signal: AbortSignal): Promise<AsyncDisposable> {
  return await lock(root, { signal });
}

/** Records the bytes that the build in this work directory still means to write. */
export async function writeClaim(workDirectory: string, bytes: ReadonlyMap<number, number>): Promise<Claim> {
  const claim = { bytes: Object.fromEntries(bytes), usedBytes: await usedBytes(workDirectory) };
  const path = join(workDirectory, fileName);
  await writeFile(`${path}.new`, JSON.stringify(claim));
  await rename(`${path}.new`, path);
  return claim;
}

/** Bytes that the other living builds in `root` still mean to write, by device number. */
export async function readOtherClaims(root: string, ownWorkDirectory: string): Promise<Map<number, number>> {
  const outstanding = new Map<number, number>();
  const { device: workDevice } = await readRoom(root);
  for (const name of await readdir(root)) {
    if (name === basename(ownWorkDirectory)) continue;
    const path = join(root, name);
    const claim = await readClaim(path);
    if (claim === null || (await isDead(path))) continue;
    const writtenBytes = Math.max(0, (await usedBytes(path)) - claim.usedBytes);
    for (const [device, bytes] of Object.entries(claim.bytes)) {
      const left = Math.max(0, bytes - (Number(device) === workDevice ? writtenBytes : 0));
      outstanding.set(Number(device), (outstanding.get(Number(device)) ?? 0) + left);
    }
  }
  return outstanding;
}

async function readClaim(workDirectory: string): Promise<Claim | null> {
  try {
    return Claim.parse(JSON.parse(await readFile(join(workDirectory, fileName), 'utf8')));
  } catch (error) {
    if (isNodeError(error) && error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
    return null;
  }
}

/** A living worker holds the lock on its work directory; a dead one will not write the rest of its claim. */
async function isDead(workDirectory: string): Promise<boolean> {
  const held = await tryLockFolder(workDirectory).catch(() => null);
  await held?.[Symbol.asyncDispose]();
  return held !== null || (await readClaim(workDirectory)) === null;
}
