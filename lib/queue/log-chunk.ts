import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip, gzipSync } from 'node:zlib';
import type { ConsumeMessage } from 'amqplib';
import { z } from 'zod';
import type { QueueMessage } from './connection.ts';
import { queues } from './topology.ts';

/** Some lines of the log of a running build, as they stand in the logs stream. */
export interface LogChunk {
  readonly buildId: string;
  readonly attempt: number;
  /** Place of the text within that of its attempt, in bytes. */
  readonly from: number;
  /** Length of the text in bytes. */
  readonly bytes: number;
  /** The text, whole lines, as gzip. */
  readonly packed: Buffer;
  /** True for the last one of a build that ends. */
  readonly end: boolean;
}

/** Most bytes of a chunk's text. */
export const maximumChunkBytes = 64 * 1024;

const Headers = z.object({
  build_id: z.uuid(),
  attempt: z.int().positive(),
  from: z.int().nonnegative(),
  bytes: z.int().nonnegative().max(maximumChunkBytes),
  end: z.int().optional(),
});
const Marker = z.object({ marker: z.uuid() });

export function newChunk(chunk: Omit<LogChunk, 'bytes' | 'packed'>, text: string): LogChunk {
  const content = Buffer.from(text);
  return { ...chunk, bytes: content.length, packed: gzipSync(content) };
}

export function messageOf({ buildId, attempt, from, bytes, packed, end }: LogChunk): QueueMessage {
  const headers = { build_id: buildId, attempt, from, bytes, ...(end ? { end: 1 } : {}) };
  const common = { queue: queues.logs, messageId: randomUUID(), type: 'imagebuilder.log' };
  return { ...common, content: packed, contentType: 'application/gzip', headers };
}

/** A message without content: a reader that sees it has read everything before it. */
export function markerMessage(marker: string): QueueMessage {
  const common = { queue: queues.logs, messageId: marker, type: 'imagebuilder.marker' };
  return { ...common, content: Buffer.alloc(0), headers: { marker } };
}

/** The chunk in a message, the id of a marker, or null for a message that this version does not know. */
export function readLogMessage({ content, properties }: Pick<ConsumeMessage, 'content' | 'properties'>) {
  const chunk = Headers.safeParse(properties.headers);
  if (chunk.success) {
    const { build_id: buildId, end, ...rest } = chunk.data;
    return { ...rest, buildId, end: end === 1, packed: content } satisfies LogChunk;
  }
  const marker = Marker.safeParse(properties.headers);
  return marker.success ? marker.data.marker : null;
}

const unzip = promisify(gunzip);

/** The text of a chunk. Throws where it is not as long as the chunk says. */
export async function textOf({ packed, bytes }: Pick<LogChunk, 'packed' | 'bytes'>): Promise<Buffer> {
  if (bytes === 0) return Buffer.alloc(0);
  const text = await unzip(packed, { maxOutputLength: maximumChunkBytes });
  if (text.length !== bytes) throw new Error(`a chunk of a log has ${text.length} bytes and not ${bytes}`);
  return text;
}
