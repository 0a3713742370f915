import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { ArtifactReport } from '#lib/api/artifact-report.ts';
import type { ByteRange } from '#lib/api/byte-range.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import type { Session } from '#lib/store/openstack/session.ts';
import { openStoredFile } from './stored-file.ts';

export interface StoredLogOptions {
  /** Folder of the file store, which may be on another machine. */
  readonly storeDirectory: string;
  /** Null where no cloud is configured. */
  readonly session: Pick<Session, 'open'> | null;
  readonly signal: AbortSignal;
}

/**
 * The text of a log in the store; destroying it closes its source. Throws `request.not_found` where it is on another machine or
 * gone, and `store.failed` where Swift does not answer.
 */
export async function openStoredLog(
  buildId: string,
  log: ArtifactReport,
  { storeDirectory, session, signal }: StoredLogOptions,
): Promise<Readable> {
  const file = await openStoredFile(storeDirectory, buildId, log);
  if (file !== null) return unpack(file.bytes);
  if (log.store !== 'swift' || session === null) {
    throw new ImageBuilderError('request.not_found', 'the log is in a folder of another machine');
  }
  const response = await session.open('object-store', log.location, { headers: {}, signal });
  if (response.status === 200) return unpack(Readable.from(response.body));
  response[Symbol.dispose]();
  if (response.status === 404) throw new ImageBuilderError('request.not_found', 'the log is in Swift no more');
  throw new ImageBuilderError('store.failed', `Swift answered ${response.status} when asked for a log`);
}

function unpack(packed: Readable): Readable {
  const text = createGunzip();
  packed.on('error', (error) => text.destroy(error));
  // Readers get it all the same; where there is none any more, it must not end the process.
  text.on('error', () => undefined);
  text.on('close', () => packed.destroy());
  return packed.pipe(text);
}

/** The part of the text. */
export async function* partOf(text: AsyncIterable<Buffer>, { from, to }: ByteRange): AsyncGenerator<Buffer, void> {
  let at = 0;
  for await (const chunk of text) {
    if (at >= to) return;
    const part = chunk.subarray(Math.max(0, from - at), to - at);
    at += chunk.length;
    if (part.length > 0) yield part;
  }
}
