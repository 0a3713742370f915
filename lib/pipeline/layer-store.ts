import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageFacts } from '../apt/facts.ts';
import type { PresentPackage } from '../apt/outside/fetch.ts';
import type { OutsideState } from '../apt/outside/worker-apt.ts';
import { openCache } from '../fetch/cache.ts';
import { leftoverAgeMs } from '../fetch/own-file.ts';
import type { Guest } from '../guest/guest.ts';
import type { OwnFiles } from '../guest/own-files.ts';
import { lock, tryLock } from '../lock.ts';
import { version } from '../version.ts';
import { addFile, addRecord, readRecord } from './cached-records.ts';

/**
 * Layers: base images into which packages of their own repositories are installed, for builds that need at least these.
 * They lie in the folder `layers` of the cache, with what this worker knows of each base image.
 */
export interface LayerStore {
  /** Null where no build has opened the base image. */
  readBase(): Promise<KnownBase | null>;
  readShelf(): Promise<Shelf>;
  /** Notes what a build has found out. `base` null: it is known already. `seen` null: others have no use for its packages. */
  learn(base: KnownBase | null, seen: SeenBuild | null, place: StorePlace): Promise<void>;
  /**
   * Holds the making of a layer of these packages until disposed. Waits for another build that holds it, after a call of
   * `onWait`. Null where that takes longer than any layer should take. The turn of a killed maker goes to the next build.
   */
  turn(packages: readonly string[], options: TurnOptions): Promise<AsyncDisposable | null>;
  /** Puts the image of a layer at `target`. False where it is no longer there. */
  take(layer: Layer, target: string): Promise<boolean>;
  /**
   * Moves the image of a layer into the cache. Resolves with the layer of the same packages that another build has put
   * there meanwhile, where there is one: the image is removed then.
   */
  keep(layer: Layer, path: string, place: StorePlace): Promise<Layer>;
  forget(layer: Layer, place: StorePlace): Promise<void>;
  /** Notes packages of which no layer can be made. */
  refuse(refused: RefusedPackages, place: StorePlace): Promise<void>;
}

export interface TurnOptions {
  readonly signal: AbortSignal;
  readonly onWait: () => void;
  /** Default: half an hour. */
  readonly patienceMs?: number;
}

export interface StorePlace {
  /** A folder of this build alone. */
  readonly workDirectory: string;
  readonly signal: AbortSignal;
}

/** Facts of a base image that nobody has changed. */
export interface KnownBase {
  /** Of a release: of the file with its root file system. */
  readonly baseSha256: string;
  readonly facts: ImageFacts;
  /** The state of its apt, without any PPA. */
  readonly state: OutsideState;
  /** The lines of `Pristine`. */
  readonly pristine: string;
}

/** Packages of a build that its base image's own repositories have. */
export interface SeenPackages {
  /** The names that were asked for. */
  readonly wanted: readonly string[];
  /** As in `MadeOf`. */
  readonly packages: readonly string[];
}

/** A build whose packages others may have too. */
export interface SeenBuild extends SeenPackages {
  /** Of its finished image. */
  readonly own: OwnFiles;
}

export interface Layer extends SeenPackages {
  readonly present: readonly PresentPackage[];
  /** The second in which its base image was opened, by the clock of the guest. */
  readonly openedSeconds: number;
  readonly sha256: string;
  readonly sizeBytes: number;
  /** ISO 8601. */
  readonly madeAt: string;
}

export interface Shelf {
  /** Of the last builds, the newest first. */
  readonly seen: readonly SeenBuild[];
  readonly layers: readonly Layer[];
  readonly refused: readonly RefusedPackages[];
}

/** A set of packages of which no layer can be made, nor of more than them. */
export interface RefusedPackages {
  readonly packages: readonly string[];
  /** The size of the layer: where the cache may have as much, it can be made. Null where that is no matter of size. */
  readonly sizeBytes: number | null;
}

export interface LayerKey {
  /** SHA-256 of the base image, or of each file of its release. */
  readonly files: readonly string[];
  /** Further words of the request by which the base image is opened: its kind, series, and parts. */
  readonly base: unknown;
  /** Largest size of disks: that of those which are made for an archive. */
  readonly maximumVirtualBytes: number;
  readonly guest: Guest['kind'];
  /** Whether scripts reach the network. */
  readonly vmNetwork: boolean;
  /** Of the clusters that builds copy from layers. */
  readonly compression: string;
}

/** Of the cache's folder. */
export const layersFolder = 'layers';

/** Number of the form of these records: those of another are as good as none. */
const form = 3;
const mostSeen = 16;
const mostLayers = 32;
const mostRefused = 64;
const emptyShelf: Shelf = { seen: [], layers: [], refused: [] };
const patienceOfTurnMs = 30 * 60_000;

export async function openLayerStore(
  cacheDirectory: string,
  maximumBytes: number,
  { files, base, maximumVirtualBytes, guest, vmNetwork, compression }: LayerKey,
): Promise<LayerStore> {
  const cache = await openCache(join(cacheDirectory, layersFolder), maximumBytes, leftoverAgeMs);
  const parts = [version, form, files, base, maximumVirtualBytes, guest, vmNetwork, compression];
  const key = createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  const readShelf = async () => ({ ...emptyShelf, ...(await readRecord<Partial<Shelf>>(cache, `${key}/shelf`)) });

  const putShelf = (shelf: Shelf, { workDirectory }: StorePlace) =>
    addRecord(cache, `${key}/shelf`, shelf, workDirectory);

  async function change(place: StorePlace, edit: (shelf: Shelf) => Shelf): Promise<void> {
    await using _ = await cache.lock(key, place.signal);
    await putShelf(edit(await readShelf()), place);
  }

  const imageKey = ({ sha256 }: Layer) => `${key}/${sha256}`;

  async function keepFirst(layer: Layer, path: string, place: StorePlace): Promise<Layer> {
    await using _ = await cache.lock(key, place.signal);
    const { layers, ...shelf } = await readShelf();
    const same = layers.find((other) => other.packages.join('\n') === layer.packages.join('\n'));
    if (same !== undefined && (await cache.find(imageKey(same))) !== null) {
      await rm(path);
      return same;
    }
    const { sha256, sizeBytes } = layer;
    await addFile(cache, path, { url: imageKey(layer), sizeBytes, sha256 });
    const others = layers.filter((other) => other !== same);
    await putShelf({ ...shelf, layers: [layer, ...others].slice(0, mostLayers) }, place);
    return layer;
  }

  return {
    readBase: () => readRecord<KnownBase>(cache, `${key}/base`),
    readShelf,
    async turn(packages, { signal, onWait, patienceMs = patienceOfTurnMs }) {
      // One lock per 1/4096 of the keys. Those of the cache have other names: makers take them on the way.
      const digits = createHash('sha256')
        .update(JSON.stringify([key, packages]))
        .digest('hex')
        .slice(0, 3);
      const path = join(cacheDirectory, layersFolder, 'locks', `making-${digits}`);
      const free = await tryLock(path);
      if (free !== null) return free;
      onWait();
      const impatient = AbortSignal.timeout(patienceMs);
      try {
        return await lock(path, { signal: AbortSignal.any([signal, impatient]) });
      } catch (error) {
        signal.throwIfAborted();
        if (!impatient.aborted) throw error;
        return null;
      }
    },
    async learn(base, now, place) {
      if (base === null && now === null) return;
      if (base !== null) await addRecord(cache, `${key}/base`, base, place.workDirectory);
      if (now !== null) {
        const same = now.packages.join('\n');
        await change(place, ({ seen, ...shelf }) => {
          const others = seen.filter(({ packages }) => packages.join('\n') !== same);
          return { ...shelf, seen: [now, ...others].slice(0, mostSeen) };
        });
      }
      await cache.evict();
    },
    take: async (layer, target) =>
      (await cache.find(imageKey(layer))) !== null && (await cache.linkTo(layer.sha256, target)),
    async keep(layer, path, place) {
      const kept = await keepFirst(layer, path, place);
      await cache.evict();
      return kept;
    },
    async forget(layer, place) {
      await cache.forget(imageKey(layer));
      await change(place, ({ layers, ...shelf }) => {
        return { ...shelf, layers: layers.filter(({ sha256 }) => sha256 !== layer.sha256) };
      });
    },
    async refuse({ packages, sizeBytes }, place) {
      const latest = { packages, sizeBytes };
      await change(place, ({ refused, ...shelf }) => ({
        ...shelf,
        refused: [latest, ...refused].slice(0, mostRefused),
      }));
    },
  };
}
