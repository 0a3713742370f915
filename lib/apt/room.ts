import { ImageBuilderError } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { formatBytes } from '../text.ts';
import type { InstallPlan } from './plan.ts';
import { runScript } from './script.ts';

/** Room on one file system of an image. */
export interface Room {
  /** Where it is mounted; the first place where it is at several. */
  readonly target: string;
  readonly sizeBytes: number;
  /** With what is reserved for root. */
  readonly freeBytes: number;
  /** Null where it has no fixed number of inodes, such as btrfs. */
  readonly freeInodes: number | null;
}

/** Parses the lines of scripts/room.sh among others, each file system once. */
export function parseRoom(lines: readonly string[]): Room[] {
  const bySource = new Map<string, Room>();
  for (const line of lines) {
    const [mark, source = '', size = '', used = '', , inodes = '', freeInodes = '', target = ''] = line.split(/\s+/);
    if (mark !== 'room' || bySource.has(source) || !/^\d+$/.test(size) || !/^\d+$/.test(used)) continue;
    bySource.set(source, {
      target,
      sizeBytes: Number(size) * 1024,
      freeBytes: Math.max(0, Number(size) - Number(used)) * 1024,
      freeInodes: Number(inodes) > 0 ? Number(freeInodes) : null,
    });
  }
  return [...bySource.values()];
}

/** Reads the room of an opened image as it is now; empty where the image's tools cannot say. */
export async function readRoom(runner: ScriptRunner): Promise<Room[]> {
  return parseRoom(await runScript(runner, 'room', { timeoutMs: 60_000 }));
}

/**
 * The error for packages that cannot fit, whatever each puts where; null where they may. `growthBytes` is apt's figure.
 */
export function growthError(rooms: readonly Room[], growthBytes: number): ImageBuilderError | null {
  const freeBytes = rooms.reduce((sum, room) => sum + room.freeBytes, 0);
  if (rooms.length === 0 || growthBytes <= freeBytes) return null;
  return full(`the packages need ${formatBytes(growthBytes)}, and the image has ${formatBytes(freeBytes)} left`, rooms);
}

/** A new package has at least its list of files, two more in dpkg's database, and a folder with its copyright. */
const leastFiles = 5;

/** The same for the number of files; `installed` are the names of the packages that are there. */
export function inodeError(
  rooms: readonly Room[],
  { install }: InstallPlan,
  installed: ReadonlySet<string>,
): ImageBuilderError | null {
  const needed = leastFiles * install.filter((name) => !installed.has(name)).length;
  const limited = rooms.flatMap(({ freeInodes }) => (freeInodes === null ? [] : [freeInodes]));
  const free = limited.reduce((sum, inodes) => sum + inodes, 0);
  if (limited.length < rooms.length || rooms.length === 0 || needed <= free) return null;
  return full(`the packages need more than ${needed} new files, and the image has inodes for ${free}`, rooms);
}

/** An `image.full` error with the room that the image has, where it does not say that yet; other errors as they are. */
export function withRoom(thrown: unknown, rooms: readonly Room[]): unknown {
  if (!(thrown instanceof ImageBuilderError) || thrown.code !== 'image.full' || rooms.length === 0) return thrown;
  const { message, logTail } = thrown;
  if (rooms.some(({ target }) => message.includes(`(${target}: `))) return thrown;
  return new ImageBuilderError('image.full', `${message} (${describeRooms(rooms)})`, { logTail, cause: thrown });
}

function full(what: string, rooms: readonly Room[]): ImageBuilderError {
  const message = `${what} (${describeRooms(rooms)}); ask for a larger disk with disk_size, or take a base image with one`;
  return new ImageBuilderError('image.full', message);
}

/** Such as `/: 12 MB of 2.0 GB free, no inodes`. */
function describeRooms(rooms: readonly Room[]): string {
  return rooms
    .map(({ target, sizeBytes, freeBytes, freeInodes }) => {
      const inodes = freeInodes === null || freeInodes > fewInodes ? '' : `, ${freeInodes} inodes`;
      return `${target}: ${formatBytes(freeBytes)} of ${formatBytes(sizeBytes)} free${inodes}`;
    })
    .join('; ');
}

const fewInodes = 10_000;
