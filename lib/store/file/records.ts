import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ArtifactRole } from '../../api/artifact-report.ts';
import { Checksums, ImageResult } from '../../api/image-result.ts';
import { isNodeError } from '../../errors.ts';
import type { Artifact, Artifacts, LogOrigin, Origin, OtherArtifact } from '../artifact.ts';
import { isBuildId } from '../listing.ts';

/** The files that describe what the folder of a build has. */

const File = z.object({ name: z.string(), size: z.int(), checksums: Checksums });

/** The build. Older versions did not write it. */
const From = z.object({
  ticket_id: z.union([z.string(), z.number()]).optional(),
  series: z.string().optional(),
  caller: z.string().optional(),
});
const WithBuild = z.object({ build: From.optional() });

const OtherFile = File.extend({ role: ArtifactRole, media_type: z.string() });

/** The content of `log.json`. */
const LogRecord = OtherFile.extend(WithBuild.shape);

/** The content of `image.json`. */
const ImageRecord = File.extend({
  format: ImageResult.shape.format,
  /** The artifacts beside the image, where there are any. */
  others: z.array(OtherFile).optional(),
  ...WithBuild.shape,
});

/** The content of `others.json`. */
const OthersRecord = z.object({ build_id: z.string(), files: z.array(OtherFile), ...WithBuild.shape });

/**
 * The name of the file that describes an image and what is beside it, of the one for a log, and of the one for files
 * whose image is in another store.
 */
export const recordNames = { image: 'image.json', log: 'log.json', others: 'others.json' } as const;
type RecordName = (typeof recordNames)[keyof typeof recordNames];

/** Throws where there is none, or where it is not understood. */
export async function readImageRecord(folder: string): Promise<z.output<typeof ImageRecord>> {
  return ImageRecord.parse(await readJson(folder, recordNames.image));
}

/** As `readImageRecord`. */
export async function readLogRecord(folder: string): Promise<z.output<typeof LogRecord>> {
  return LogRecord.parse(await readJson(folder, recordNames.log));
}

/** As `readImageRecord`. */
export async function readOthersRecord(folder: string): Promise<z.output<typeof OthersRecord>> {
  return OthersRecord.parse(await readJson(folder, recordNames.others));
}

/** The build of a record, and when the record was written (ISO 8601); null where there is none. */
export async function readOrigin(folder: string, name: RecordName) {
  const storedAt = await writtenAt(folder, name);
  if (storedAt === null) return null;
  const { data } = WithBuild.safeParse(await readJson(folder, name).catch(() => null));
  const { ticket_id: ticket, series = null, caller = null } = data?.build ?? {};
  return { ticketId: ticket?.toString() ?? null, series, caller, storedAt };
}

/** The moment (ISO 8601) when a record was written; null where there is none. */
async function writtenAt(folder: string, name: RecordName): Promise<string | null> {
  try {
    return (await stat(join(folder, name))).mtime.toISOString();
  } catch (error) {
    if (isNodeError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw error;
  }
}

/** The moment when the first of these records was written that is there; null for a folder that has none of them. */
export async function storedAtIn(folder: string, names: readonly RecordName[]): Promise<string | null> {
  for (const name of names) {
    const storedAt = await writtenAt(folder, name);
    if (storedAt !== null) return storedAt;
  }
  return null;
}

/** The beginning of the names of folders that are not finished, or about to be removed. */
export const incomingPrefix = (buildId: string) => `.incoming-${buildId}.`;

/** The build of such a folder; null for another name. */
export function leftoverOf(name: string): string | null {
  const [, buildId = ''] = /^\.incoming-([0-9a-f-]{36})\./.exec(name) ?? [];
  return isBuildId(buildId) ? buildId : null;
}

/** Whether the file is there with its size. */
export async function isWhole(folder: string, { name, size }: z.output<typeof File>): Promise<boolean> {
  try {
    return (await stat(join(folder, name))).size === size;
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return false;
    throw error;
  }
}

/** The text of `image.json`. */
export function imageRecord([image, ...others]: Artifacts, origin: Origin): string {
  const records = othersOf(others);
  const beside = records.length === 0 ? {} : { others: records };
  const record: z.input<typeof ImageRecord> = {
    ...{ ...fileOf(image), format: image.format, ...beside },
    build: fromOf(origin),
  };
  return textOf(record);
}

/** The text of `log.json`. */
export function logRecord(log: OtherArtifact, origin: LogOrigin): string {
  const record: z.input<typeof LogRecord> = { ...otherOf(log), build: fromOf(origin) };
  return textOf(record);
}

/** The text of `others.json`. */
export function othersRecord(others: readonly OtherArtifact[], origin: LogOrigin): string {
  const record: z.input<typeof OthersRecord> = {
    build_id: origin.buildId,
    files: othersOf(others),
    build: fromOf(origin),
  };
  return textOf(record);
}

async function readJson(folder: string, name: string): Promise<unknown> {
  return JSON.parse(await readFile(join(folder, name), 'utf8'));
}

const textOf = (record: object) => `${JSON.stringify(record, null, 2)}\n`;

function fromOf({ ticketId, series, caller }: LogOrigin): z.input<typeof From> {
  return { ticket_id: ticketId, series, ...(caller === null ? {} : { caller }) };
}

/** In the order of their names. */
function othersOf(others: readonly OtherArtifact[]): z.input<typeof OtherFile>[] {
  return others.toSorted((one, other) => (one.name < other.name ? -1 : 1)).map(otherOf);
}

function otherOf(other: OtherArtifact): z.input<typeof OtherFile> {
  return { ...fileOf(other), role: other.role, media_type: other.mediaType };
}

function fileOf({ name, sizeBytes: size, checksums }: Artifact): z.input<typeof File> {
  return { name, size, checksums };
}
