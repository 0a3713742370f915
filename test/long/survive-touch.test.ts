import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeTouchBase } from '../../lab/images/touch-base.ts';
import { buildOver, holdAt, isIn, kill, scenarios, startNext } from '../system/faults/scenarios.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

/** Builds of touch images whose workers are killed, and that are cancelled, in the steps that only they have. */

const folder = await temporaryFolder();
test.after(async () => {
  await folder[Symbol.asyncDispose]();
});

const scenario = scenarios(async () => {
  const { path, codename } = await makeTouchBase(baseImageCache, 'amd64', () => {});
  const packed = join(folder.path, 'base.tar.gz');
  await exec('sh', ['-c', 'exec gzip -1 <"$1" >"$2"', 'sh', path, packed]);
  return { base: { imageType: 'touch', path: packed, codename, sizeBytes: (await stat(packed)).size } };
});

scenario('killed while a package is being installed in the root file system', async (fleet) => {
  fleet.gate.close();
  await buildOver(fleet, ['slow'], async (_, worker) => {
    await fleet.gate.reached();
    await kill(worker);
    fleet.gate.open();
  });
});

for (const [what, path] of [
  ['writes the archive', /\/image\.tar\.gz$/],
  ['compares the new archive with its base', /\/checked\.tar$/],
] as const) {
  scenario(`killed while it ${what}`, async (fleet) => {
    fleet.gate.close();
    const fault = async (_: string, worker: Parameters<typeof kill>[0]) => {
      await fleet.gate.reached();
      await kill(worker);
      fleet.gate.open();
    };
    await buildOver(fleet, ['libfoo'], fault, holdAt(fleet, path));
  });
}

for (const [what, path, step] of [
  ['unpacks the archive', /\/root\.tar$/, 'inspect'],
  ['makes the file system', /\/root\.ext4$/, 'open'],
  ['lists the changes', /\/changes\.tar\.list$/, 'seal'],
  ['writes the archive', /\/image\.tar\.gz$/, 'repack'],
  ['compares the new archive with its base', /\/checked\.tar$/, 'check'],
] as const) {
  scenario(`cancelled while it ${what}`, async (fleet) => {
    fleet.gate.close();
    await startNext(fleet, holdAt(fleet, path));
    const { buildId } = await fleet.submit(fleet.request());
    await fleet.gate.reached();
    await fleet.when(buildId, isIn(step));
    assert.is(await fleet.cancel(buildId), 202);
    await fleet.when(buildId, ({ cancelling }) => cancelling);
    fleet.gate.open();
    assert.is((await fleet.ended(buildId)).state, 'cancelled');
  });
}

test.run();
