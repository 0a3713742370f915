import type { StoredBuild } from '../artifact.ts';
import type { Beside, FoundObject } from '../beside.ts';
import {
  comparePositions,
  describeAll,
  isBuildId,
  type ListOptions,
  listOf,
  mergeNewest,
  type Position,
  type Selected,
  type StoredPage,
  selectNewest,
} from '../listing.ts';
import { logsFolder, openLogs } from '../logs.ts';
import type { Session } from '../openstack/session.ts';
import type { Store } from '../store.ts';
import { storedBuild } from '../stored-build.ts';
import type { Glance } from './api.ts';
import { type GlanceImage, isWhole, numberBeside, toStored } from './image.ts';
import { type ImageFolder, imageFilesOf, imageFolders } from './image-files.ts';

/** The builds of which Glance has an image, and those of which only files or a log are left beside it. */

export interface GlanceBuildsOptions {
  readonly glance: Glance;
  readonly session: Session;
  /** The places of files beside images, and of logs. */
  readonly placesOf: (signal: AbortSignal) => Promise<readonly Beside[]>;
}

/** A place in the list: of an image, by its id; of files whose image is gone, by their folder; or of a log. */
type Shown = Position & { readonly shownBy: string };

export function openGlanceBuilds({ glance, session, placesOf }: GlanceBuildsOptions): Pick<Store, 'list' | 'describe'> {
  /** Everything of a build, and what of it says where in the list it stands; null where there is nothing. */
  async function look(buildId: string, signal: AbortSignal): Promise<{ build: StoredBuild; shownBy: string } | null> {
    const places = await placesOf(signal);
    const lookIn = async (lookAt: (place: Beside) => Promise<FoundObject[]>) =>
      (await Promise.all(places.map(lookAt))).flat();
    const kept = await lookIn((place) => openLogs(place).look(buildId, { signal }));
    const images = await glance.list(buildId, { signal });
    const image = images.find(isWhole);
    if (image === undefined) {
      const folder = await newestWithoutImage(buildId, images, places, signal);
      const own = folder === undefined ? [] : await folder.place.look(folder.folder, { signal });
      const build = storedBuild(buildId, null, own, kept);
      return build && { build, shownBy: own.length === 0 ? logsFolder : (folder?.folder ?? logsFolder) };
    }
    const own = await lookIn((place) => place.look(imageFilesOf(buildId, image.id), { signal }));
    const described = {
      ...{ ticketId: image.ticket_id ?? null, series: image.imagebuilder_series ?? null },
      ...{ caller: image.imagebuilder_caller ?? null, storedAt: createdAt(image) },
      image: toStored(image, await session.endpoint('image', { signal })),
      others: numberBeside(image),
    };
    const build = storedBuild(buildId, described, own, kept);
    return build && { build, shownBy: image.id };
  }

  /**
   * The newest folder of the build whose image is in Glance no more. An image is in Glance before its folder is made, so
   * it is looked up after that: no folder of an upload that runs is taken for one without an image.
   */
  async function newestWithoutImage(
    buildId: string,
    images: readonly GlanceImage[],
    places: readonly Beside[],
    signal: AbortSignal,
  ) {
    const without: (ImageFolder & { readonly place: Beside })[] = [];
    for (const place of places) {
      for await (const folder of imageFolders(place, buildId, { signal })) {
        if (images.some(({ id }) => id === folder.imageId)) continue;
        if ((await glance.get(folder.imageId, { signal })) === null) without.push({ ...folder, place });
      }
    }
    return without.sort(comparePositions)[0];
  }

  const describe: Store['describe'] = async (buildId, { signal }) => (await look(buildId, signal))?.build ?? null;

  async function selectImages(options: ListOptions): Promise<Selected<Shown>> {
    const { signal, after } = options;
    const images = selectNewest<Shown>(options);
    for await (const page of glance.newest(after?.storedAt ?? null, { signal })) {
      for (const image of page) {
        const { imagebuilder_build_id: buildId } = image;
        if (buildId !== undefined && isBuildId(buildId) && isWhole(image)) {
          images.add({ buildId, storedAt: createdAt(image), shownBy: image.id });
        }
      }
      const oldest = page.at(-1);
      if (oldest !== undefined && images.isFull(createdAt(oldest))) break;
    }
    return images.selected();
  }

  async function list(options: ListOptions): Promise<StoredPage> {
    const { signal, limit } = options;
    const selected = await selectImages(options);
    const withImage = new Set(selected.positions.map(({ buildId }) => buildId));
    const others = selectNewest<Shown>(options);
    for (const place of await placesOf(signal)) {
      for await (const position of openLogs(place).positions({ signal })) {
        if (!withImage.has(position.buildId)) others.add({ ...position, shownBy: logsFolder });
      }
      for await (const { folder, buildId, storedAt } of imageFolders(place, null, { signal })) {
        if (!withImage.has(buildId)) others.add({ buildId, storedAt, shownBy: folder });
      }
    }
    const { items, next } = mergeNewest([listOf(selected), listOf(others.selected())], limit);
    const describeOne = async ({ buildId, shownBy }: Shown, either: AbortSignal) => {
      const found = await look(buildId, either);
      // A log, or files, of a build that is on another page, where its image is.
      return found?.shownBy === shownBy ? found.build : null;
    };
    return { builds: await describeAll(items, describeOne, signal), next };
  }

  return { list, describe };
}

const createdAt = (image: GlanceImage) => new Date(image.created_at).toISOString();
