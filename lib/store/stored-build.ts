import type { StoredState } from '../api/image-list.ts';
import type { StoredBuild, StoredImage, StoredOther } from './artifact.ts';
import type { FoundObject, StoredObject } from './beside.ts';

/** An image in Glance, and the number of files beside it; null where it is not known. */
export type ImageElsewhere = Omit<StoredBuild, 'buildId' | 'artifacts' | 'state'> & { readonly others: number | null };

/**
 * A build by its objects: its own folder, and that of its log. `image` is the one in Glance that the objects belong to;
 * without it, the image is among them. Null where there is nothing.
 */
export function storedBuild(
  buildId: string,
  image: ImageElsewhere | null,
  own: readonly FoundObject[],
  logs: readonly FoundObject[],
): StoredBuild | null {
  const [first] = [...own, ...logs];
  const source = image ?? first?.origin;
  if (source === undefined) return null;
  const { ticketId, series, caller } = source;
  const inSwift = own.map(({ object }) => object).find((object) => object.role === 'image');
  const found = image?.image ?? (inSwift === undefined ? null : imageOf(inSwift));
  const others = [...own, ...logs].map(({ object }) => object).filter(isOther);
  const times = (own.length > 0 ? own : logs).map(({ storedAt }) => storedAt).sort();
  // Beside an image in Swift are all of its set but itself.
  const beside = own.filter(({ object }) => isOther(object)).length;
  const [one] = own;
  const expected = image === null ? one && one.ofSet - (inSwift === undefined ? 0 : 1) : (image.others ?? beside);
  return {
    ...{ buildId, ticketId, series, caller },
    storedAt: image?.storedAt ?? times.at(-1) ?? '',
    state: stateOf(found, beside, expected ?? null),
    image: found,
    artifacts: others.sort((one, other) => (one.name < other.name ? -1 : 1)),
  };
}

/**
 * The state of a build with so many files beside its image, of as many as were put with it; null where nothing says that
 * there ever was an image. The log is none of the files.
 */
export function stateOf(image: StoredImage | null, beside: number, expected: number | null): StoredState {
  if (image !== null) return beside < (expected ?? 0) ? 'files_missing' : 'whole';
  return expected === null ? 'log_only' : 'image_missing';
}

export const isOther = (object: StoredObject): object is StoredOther => object.role !== 'image';

/** The image as `find` has it. */
export function imageOf(object: Extract<StoredObject, { readonly role: 'image' }>): StoredImage {
  const { role: _role, media_type: _mediaType, ...image } = object;
  return image;
}
