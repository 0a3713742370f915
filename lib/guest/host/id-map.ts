import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { hindrance, type IdRange } from '../../privileges.ts';

/**
 * The user namespace of a host guest's containers: the ids 0 to 65,535 inside are a range of other ids for the worker,
 * where they have no rights. Mounts of the image are idmapped, so that on its disk they are 0 to 65,535 again.
 */

/** Ids of a container. Debian's accounts, nobody (65534) included, are below this. */
export const mappedIds = 65_536;

/** Programs for perl: one gives mounts an id map, the other corrects ids that differ on the disk all the same. */
export const idMapProgram = join(import.meta.dirname, '../scripts/idmap.pl');
export const capabilitiesProgram = join(import.meta.dirname, '../scripts/capabilities.pl');

/** The reason why containers cannot have ids out of this range here; null where they can. */
export function rangeHindrance(range: IdRange): string | null {
  if (slots(range) < 1) return `IMAGEBUILDER_UNPRIVILEGED_IDS has fewer than the ${mappedIds} ids of a container`;
  return hindrance(range);
}

/**
 * Chooses the first id of one guest, mostly different from those of all running guests. Two guests with the same ids
 * still cannot reach each other, since processes, files and networks of their own separate them.
 */
export function newFirstId(range: IdRange): number {
  return range.first + randomInt(slots(range)) * mappedIds;
}

function slots({ first, last }: IdRange): number {
  return Math.floor((last - first + 1) / mappedIds);
}
