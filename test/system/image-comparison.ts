import type { ImageListing, ListedFile } from './image-listing.ts';

export interface Difference {
  /** Path as in the listings; for parts outside files, the place on the disk. */
  readonly path: string;
  /** The property that differs, or `presence`. */
  readonly what: keyof ListedFile | 'presence';
  /** Of both, in the order of the listings. */
  readonly values: readonly [string, string];
}

const properties = ['type', 'mode', 'owner', 'size', 'content', 'names', 'target', 'sameAs', 'attributes'] as const;

/**
 * The differences between two images that were made from one base after `startedSeconds` (since 1970). A time that the
 * base has set has to be in both; of later times it only matters that both are later.
 */
export function compareListings(one: ImageListing, other: ImageListing, startedSeconds: number): Difference[] {
  const differences: Difference[] = [];
  const compare = (path: string, what: Difference['what'], first: unknown, second: unknown) => {
    if (first !== second) differences.push({ path, what, values: [String(first), String(second)] });
  };
  const modified = ({ modified }: ListedFile) => (modified < startedSeconds ? modified : 'later');
  for (const path of [...new Set([...one.files.keys(), ...other.files.keys()])].sort()) {
    const [first, second] = [one.files.get(path), other.files.get(path)];
    if (first === undefined || second === undefined) {
      compare(path, 'presence', first?.type, second?.type);
      continue;
    }
    for (const property of properties) compare(path, property, first[property], second[property]);
    compare(path, 'modified', modified(first), modified(second));
  }
  for (const place of new Set([...one.rest.keys(), ...other.rest.keys()])) {
    compare(place, 'content', one.rest.get(place), other.rest.get(place));
  }
  return differences;
}
