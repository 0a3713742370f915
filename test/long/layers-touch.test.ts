import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { workerArchitecture } from '#lib/architecture.ts';
import { readAt } from '#lib/image/read-at.ts';
import type { BuiltImage } from '../system/guest-builds.ts';
import { openTouchBuilds, release, type TouchBuilds, unpackTouch } from '../system/touch-builds.ts';

/** Builds of archives that begin with packages which an earlier build had too, of this machine's architecture and of another. */

const environment = { IMAGEBUILDER_LAYERS_CACHE_SIZE: '4G' };
const wanted = ['touch-sample', 'git'];

/** All allowed differences: ldconfig's times and inodes of libraries, and dpkg's status before its last change. */
const explained = ['var/cache/ldconfig/aux-cache', 'var/lib/dpkg/status-old'];

/** The digest of each member of an archive, header included, by its path. */
async function membersOf({ path }: BuiltImage): Promise<ReadonlyMap<string, string>> {
  const { entries } = await unpackTouch(path);
  await using file = await open(`${path}.tar`, 'r');
  const members = new Map<string, string>();
  for (const [name, { startAt, endAt }] of entries) {
    const content = await readAt(file, startAt, endAt - startAt);
    members.set(name, createHash('sha256').update(content).digest('hex'));
  }
  return members;
}

async function assertAlike(layered: BuiltImage, whole: BuiltImage): Promise<void> {
  const [one, other] = [await membersOf(layered), await membersOf(whole)];
  assert.equal([...one.keys()], [...other.keys()], 'the same members in the same order');
  assert.equal(
    [...one].flatMap(([name, digest]) =>
      other.get(name) === digest || explained.some((path) => [path, `system/${path}`].includes(name)) ? [] : [name],
    ),
    [],
  );
  const { image } = layered;
  assert.equal([image.packages, image.warnings], [whole.image.packages, whole.image.warnings]);
}

async function assertLayers(builds: TouchBuilds, guest: 'host' | 'vm', isRepeated: boolean): Promise<void> {
  let lines: string[] = [];
  const build = async (packages: readonly string[], reuse = true) => {
    lines = [];
    return await builds.build(guest, packages, { environment, reuse, onLine: (line) => lines.push(line) });
  };
  const makesLayer = () => lines.some((line) => line.includes('packages are installed for later builds too'));
  const first = await build(wanted);
  assert.is(first.image.layer, undefined);
  const second = await build(wanted);
  assert.ok(makesLayer(), lines.join('\n'));
  assert.is(second.image.layer?.packages, (first.image.packages?.length ?? 0) - 1, lines.join('\n'));
  await assertAlike(second, first);
  if (!isRepeated) return;
  const third = await build(wanted);
  assert.not.ok(makesLayer());
  assert.equal(third.image.layer, second.image.layer);
  await assertAlike(third, await build(wanted, false));
}

for (const architecture of ['amd64', 'armhf'] as const) {
  test(`${architecture}: an archive that is made from a layer is the one that is made without, member by member`, async () => {
    await using builds = await openTouchBuilds({ architecture });
    // Emulated ones take minutes.
    await assertLayers(builds, 'host', architecture === workerArchitecture);
  });
}

test('a release of several files that is made from a layer has the root file system that is made without, by either guest', async () => {
  await using builds = await openTouchBuilds({ architecture: 'amd64', release });
  for (const guest of ['host', 'vm'] as const) await assertLayers(builds, guest, false);
});

test.run();
