import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { hindrance, type IdRange } from '../../privileges.ts';

/**
 * The user namespace of a host guest's containers: the ids 0 to 65,535 inside are as many others in a row for the
 * worker, where they have no rights. Mounts of the image are idmapped, so that on its disk they are 0 to 65,535 again.
 */

/** Ids of a container. Debian's accounts, nobody (65534) included, are below this. */
export const mappedIds = 65_536;

/** Programs for perl: one gives mounts an id map, the other mends what is not the same on the disk for all that. */
export const idMapProgram = join(import.meta.dirname, '../scripts/idmap.pl');
export const capabilitiesProgram = join(import.meta.dirname, '../scripts/capabilities.pl');

/** Why containers cannot have ids out of this range here; null where they can. */
export function rangeHindrance(range: IdRange): string | null {
  if (slots(range) < 1) return `IMAGEBUILDER_UNPRIVILEGED_IDS has fewer than the ${mappedIds} ids of a container`;
  return hindrance(range);
}

/**
 * The first of the ids of one guest: mostly others than those of any guest at the same time. Two that happen to have
 * the same still reach nothing of each other, which processes, files and networks of their own keep apart.
 */
export function newFirstId(range: IdRange): number {
  return range.first + randomInt(slots(range)) * mappedIds;
}

function slots({ first, last }: IdRange): number {
  return Math.floor((last - first + 1) / mappedIds);
}
