import { type Squashfs, tableBytes } from '../../squashfs/open.ts';

/** A SquashFS in a file of the worker; the whole file, or a part of it. */
export interface LayerFile {
  readonly path: string;
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/**
 * Inspections of the layers of one medium, which nothing changes meanwhile: the lowest is opened once more for each layer
 * above it. Their files may have been closed.
 */
export interface KnownLayers {
  find(file: LayerFile): Squashfs | null;
  /** Keeps the inspection of a layer of the medium, as long as there is room for its tables. */
  add(file: LayerFile, layer: Squashfs): void;
  clear(): void;
}

/** `maximumBytes` are for the tables of all layers that are kept. */
export function createKnownLayers(mediumPath: string, maximumBytes: number): KnownLayers {
  const layers = new Map<number, Squashfs>();
  let keptBytes = 0;
  return {
    find: ({ path, offsetBytes }) => (path === mediumPath ? (layers.get(offsetBytes) ?? null) : null),
    add({ path, offsetBytes }, layer) {
      const bytes = tableBytes(layer.tables);
      if (path !== mediumPath || layers.has(offsetBytes) || keptBytes + bytes > maximumBytes) return;
      layers.set(offsetBytes, layer);
      keptBytes += bytes;
    },
    clear() {
      layers.clear();
      keptBytes = 0;
    },
  };
}
