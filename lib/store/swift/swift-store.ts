import type { StoredArtifacts } from '../artifact.ts';
import type { StoredObject } from '../beside.ts';
import { describeAll, listOf, mergeNewest, type Position, positionsOf, selectNewest } from '../listing.ts';
import { openLogs } from '../logs.ts';
import { whyNotInCatalogue } from '../openstack/catalogued.ts';
import { storeError } from '../openstack/error.ts';
import { describeEndpoint, type Session } from '../openstack/session.ts';
import type { Store } from '../store.ts';
import { imageOf, isOther, storedBuild } from '../stored-build.ts';
import { describeRoom, tryStore } from '../trial.ts';
import type { Objects } from './objects.ts';

/** Time limit of the clean-up of a build that has failed. */
const discardMs = 20_000;

/** The artifacts of each build in Swift, in a folder of their container. */
export function createSwiftStore(objects: Objects, session: Session): Store {
  const logs = openLogs(objects);
  const put: Store['put'] = async (artifacts, origin, options) => {
    const stored = imageFirst(await objects.put(origin.buildId, artifacts, origin, options));
    if (stored !== null) return stored;
    throw storeError('Swift has other artifacts of this build, without an image', { transient: false });
  };

  const describe: Store['describe'] = async (buildId, options) => {
    return storedBuild(buildId, null, await objects.look(buildId, options), await logs.look(buildId, options));
  };

  return {
    kind: 'swift',
    directory: null,
    isThere: async (options) => (await whyNotInCatalogue(session, 'object-store', options)) === null,
    async find(buildId, options) {
      const found = await objects.find(buildId, options);
      return found === null ? null : imageFirst(found);
    },
    put,
    keepLog: logs.keep,
    findLog: logs.find,
    async list(options) {
      const selection = selectNewest(options);
      const images = positionsOf(objects.folders('', options));
      for await (const position of joined(images, logs.positions(options))) selection.add(position);
      const { items, next } = mergeNewest([listOf(selection.selected())], options.limit);
      const builds = await describeAll(items, ({ buildId }, signal) => describe(buildId, { signal }), options.signal);
      return { builds, next };
    },
    describe,
    async discard(buildId) {
      const signal = AbortSignal.timeout(discardMs);
      await objects.discard(buildId, { signal });
      await logs.discard(buildId, { signal });
    },
    async remove(buildId, { signal }) {
      // The log comes last: it still says whose the build was.
      await objects.remove(buildId, { signal });
      await logs.remove(buildId, { signal });
    },
    checks: [
      {
        what: 'Swift',
        changes: false,
        look: async (signal) => describeEndpoint(await session.endpoint('object-store', { signal })),
      },
      { what: 'Swift quota', changes: true, look: async (signal) => describeRoom(await objects.room({ signal })) },
      {
        what: 'Swift upload',
        changes: true,
        look: (signal) => tryStore({ put, remove: objects.remove }, signal, ['qcow2']),
      },
    ],
  };
}

/** The positions of builds with an image, and of those with a log alone; both come in the order of their ids. */
async function* joined(
  images: AsyncGenerator<Position, void>,
  logs: AsyncGenerator<Position, void>,
): AsyncGenerator<Position, void> {
  let log = await logs.next();
  for await (const image of images) {
    for (; !log.done && log.value.buildId <= image.buildId; log = await logs.next()) {
      if (log.value.buildId < image.buildId) yield log.value;
    }
    yield image;
  }
  for (; !log.done; log = await logs.next()) yield log.value;
}

/** Null where no image is among the objects. */
function imageFirst(objects: readonly StoredObject[]): StoredArtifacts | null {
  const image = objects.find((object) => object.role === 'image');
  if (image === undefined) return null;
  return [imageOf(image), ...objects.filter(isOther)];
}
