import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { BuildRow, BuildView } from './build.ts';

/** A finished build in little memory: what lists are searched by, and everything else compressed. */
export interface PackedBuild extends BuildRow {
  /** JSON of the whole build, compressed (RFC 1951), a character for each byte: V8 keeps such a text in as many bytes. */
  readonly packed: string;
}

/** Memory of a packed build beside its compressed part, measured with Node 24: its members and its places in maps. */
const rowBytes = 600;

/**
 * Bytes of the buffers that zlib writes into. Its default is 16 KiB for each call: at 500 calls a second for one build each,
 * `status` then took up to 188 MiB of memory, and 153 with this.
 */
const chunkSize = 2_048;

export function packBuild(build: BuildView): PackedBuild {
  const { buildId, ticketId, caller, series, state, queuedAt, updatedAt } = build;
  const packed = deflateRawSync(JSON.stringify(build), { level: 1, chunkSize }).toString('latin1');
  return { buildId, ticketId, caller, series, state, queuedAt, updatedAt, packed };
}

export function unpackBuild({ packed }: PackedBuild): BuildView {
  return JSON.parse(inflateRawSync(Buffer.from(packed, 'latin1'), { chunkSize }).toString('utf8')) as BuildView;
}

/** Bytes of memory that a packed build takes. */
export function sizeOfPacked({ packed }: PackedBuild): number {
  return rowBytes + packed.length;
}
