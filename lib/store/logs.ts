import type { LogOrigin, OtherArtifact, StoredOther } from './artifact.ts';
import type { Beside, BesideOptions, FoundObject, StoredObject } from './beside.ts';
import { type Position, positionsOf } from './listing.ts';

/**
 * The logs of builds, in Swift or in the folder of the file store: each in a folder of its own, so that it belongs to no
 * set of artifacts, and is there without an image too.
 */
export interface StoredLogs {
  /** In place of an earlier one. */
  keep(log: OtherArtifact, origin: LogOrigin, options: BesideOptions): Promise<StoredOther | null>;
  find(buildId: string, options: BesideOptions): Promise<StoredOther | null>;
  /** The log as `Beside.look` has it. */
  look(buildId: string, options: BesideOptions): Promise<FoundObject[]>;
  /** The builds that have a log, in the order of their ids. */
  positions(options: BesideOptions): AsyncGenerator<Position, void>;
  discard(buildId: string, options: BesideOptions): Promise<void>;
  remove(buildId: string, options: BesideOptions): Promise<void>;
}

/** The folder above those of the logs. */
export const logsFolder = 'logs';
const parent = `${logsFolder}/`;
const folderOf = (buildId: string) => `${parent}${buildId}`;

export function openLogs(objects: Beside): StoredLogs {
  return {
    async keep(log, origin, { signal }) {
      const folder = folderOf(origin.buildId);
      await objects.remove(folder, { signal });
      return onlyLog(await objects.put(folder, [log], origin, { signal, onProgress: () => {} }));
    },
    async find(buildId, options) {
      return onlyLog((await objects.find(folderOf(buildId), options)) ?? []);
    },
    look: (buildId, options) => objects.look(folderOf(buildId), options),
    positions: (options) => positionsOf(objects.folders(parent, options), parent),
    discard: (buildId, options) => objects.discard(folderOf(buildId), options),
    remove: (buildId, options) => objects.remove(folderOf(buildId), options),
  };
}

function onlyLog(objects: readonly StoredObject[]): StoredOther | null {
  return objects.find((object): object is StoredOther => object.role === 'log') ?? null;
}
