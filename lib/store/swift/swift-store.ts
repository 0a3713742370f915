import type { StoredArtifacts, StoredOther } from '../artifact.ts';
import { storeError } from '../openstack/error.ts';
import { describeEndpoint, type Session } from '../openstack/session.ts';
import type { Store } from '../store.ts';
import { describeRoom, tryStore } from '../trial.ts';
import { openLogs } from './logs.ts';
import type { Objects, StoredObject } from './objects.ts';

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

  return {
    kind: 'swift',
    directory: null,
    async find(buildId, options) {
      const found = await objects.find(buildId, options);
      return found === null ? null : imageFirst(found);
    },
    put,
    keepLog: logs.keep,
    findLog: logs.find,
    async discard(buildId) {
      const signal = AbortSignal.timeout(discardMs);
      await objects.discard(buildId, { signal });
      await logs.discard(buildId, { signal });
    },
    async remove(buildId, { signal }) {
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

/** Null where no image is among the objects. */
function imageFirst(objects: readonly StoredObject[]): StoredArtifacts | null {
  const image = objects.find((object) => object.role === 'image');
  if (image === undefined) return null;
  const { role: _, media_type: __, ...stored } = image;
  return [stored, ...objects.filter((object): object is StoredOther => object.role !== 'image')];
}
