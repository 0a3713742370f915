import type { StoredBuild, StoredImage, StoredOther } from './artifact.ts';
import type { FoundObject, StoredObject } from './beside.ts';

/**
 * A build by its objects: its own folder, and that of its log. `image` is the one in Glance that the objects belong to;
 * without it, the image is among them. Null where there is nothing.
 */
export function storedBuild(
  buildId: string,
  image: Omit<StoredBuild, 'buildId' | 'artifacts'> | null,
  own: readonly FoundObject[],
  logs: readonly FoundObject[],
): StoredBuild | null {
  const [first] = [...own, ...logs];
  const source = image ?? first?.origin;
  if (source === undefined) return null;
  const { ticketId, series, caller } = source;
  const inSwift = own.map(({ object }) => object).find((object) => object.role === 'image');
  const others = [...own, ...logs].map(({ object }) => object).filter(isOther);
  const times = (own.length > 0 ? own : logs).map(({ storedAt }) => storedAt).sort();
  return {
    ...{ buildId, ticketId, series, caller },
    storedAt: image?.storedAt ?? times.at(-1) ?? '',
    image: image?.image ?? (inSwift === undefined ? null : imageOf(inSwift)),
    artifacts: others.sort((one, other) => (one.name < other.name ? -1 : 1)),
  };
}

export const isOther = (object: StoredObject): object is StoredOther => object.role !== 'image';

/** The image as `find` has it. */
export function imageOf(object: Extract<StoredObject, { readonly role: 'image' }>): StoredImage {
  const { role: _role, media_type: _mediaType, ...image } = object;
  return image;
}
