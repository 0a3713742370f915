import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Artifacts, ImageArtifact, LogOrigin, Origin, OtherArtifact } from '#lib/store/artifact.ts';

export const MiB = 1024 * 1024;
export const never = new AbortController().signal;
export const quiet = { signal: never, onProgress: () => {} };

export interface FinishedBuild {
  readonly buildId: string;
  readonly image: ImageArtifact;
  /** As `put` takes them. */
  readonly given: readonly [Artifacts, Origin];
}

/** A build with an image of random bytes, and others beside it where they are wanted. */
export async function finishedBuild(
  directory: string,
  options: {
    readonly bytes?: number;
    readonly buildId?: string;
    readonly ticketId?: string;
    readonly others?: Readonly<Partial<Record<OtherArtifact['role'], string>>>;
  } = {},
): Promise<FinishedBuild> {
  const { bytes = 2 * MiB, buildId = randomUUID(), ticketId = 'T-77', others = {} } = options;
  const base = `noble-T-77-${buildId.slice(0, 8)}`;
  const write = async (name: string, content: Buffer) => {
    const digest = (algorithm: string) => createHash(algorithm).update(content).digest('hex');
    const path = join(directory, `${digest('md5')}-${name}`);
    await writeFile(path, content);
    const checksums = { sha256: digest('sha256'), sha512: digest('sha512') };
    return { name, path, sizeBytes: content.length, checksums };
  };
  const image: ImageArtifact = {
    ...(await write(`${base}.qcow2`, randomBytes(bytes))),
    ...{ role: 'image', mediaType: 'application/octet-stream', format: 'qcow2' },
  };
  const beside: OtherArtifact[] = [];
  for (const [role, content] of Object.entries(others) as [OtherArtifact['role'], string][]) {
    beside.push({ ...(await write(`${base}.${role}`, Buffer.from(content))), role, mediaType: 'text/plain' });
  }
  const origin = {
    ...{ buildId, ticketId, series: 'noble', caller: 'lander', baseImageSha256: 'ab'.repeat(32) },
    ...{ architecture: 'amd64', distribution: 'ubuntu', distributionVersion: '24.04' },
  };
  return { buildId, image, given: [[image, ...beside], origin] };
}

/** A log as `keepLog` takes it. */
export async function finishedLog(
  directory: string,
  buildId: string,
  text: string,
): Promise<{ readonly log: OtherArtifact; readonly origin: LogOrigin }> {
  const digest = (algorithm: string) => createHash(algorithm).update(text).digest('hex');
  const path = join(directory, randomUUID());
  await writeFile(path, text);
  const checksums = { sha256: digest('sha256'), sha512: digest('sha512') };
  const content = { name: `noble-T-77-${buildId.slice(0, 8)}.log.gz`, path, sizeBytes: text.length, checksums };
  const log: OtherArtifact = { ...content, role: 'log', mediaType: 'application/gzip' };
  return { log, origin: { buildId, ticketId: 'T-77', series: 'noble', caller: 'lander' } };
}

/** Calls `action` once, when so many bytes are sent; the socket's buffers hold a few MiB of them. */
export function afterBytes(bytes: number, action: () => void): (current: number) => void {
  let called = false;
  return (current) => {
    if (called || current < bytes) return;
    called = true;
    action();
  };
}

/** The whole text of an error, with its causes. */
export function allText(error: unknown): string {
  const parts: string[] = [];
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    parts.push(each.message, each.stack ?? '', JSON.stringify(each, Object.getOwnPropertyNames(each)));
  }
  return parts.join('\n');
}
