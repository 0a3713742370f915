import { stat } from 'node:fs/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { waitForProcess } from '../../lab/fleet/processes.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { makeLiveMedia } from '../../lab/images/live-media.ts';
import { buildOver, holdAt, isIn, kill, scenarios, startNext, stopProgram } from '../system/faults/scenarios.ts';

/** Builds of CD images whose workers are killed, and that are cancelled, in the steps that only they have. */

const scenario = scenarios(async () => {
  const { single: path, codename } = await makeLiveMedia(baseImageCache, () => {});
  return { base: { imageType: 'cd', path, codename, sizeBytes: (await stat(path)).size } };
});

scenario('killed while a package is being installed in the layer', async (fleet) => {
  fleet.gate.close();
  await buildOver(fleet, ['slow'], async (_, worker) => {
    await fleet.gate.reached();
    await kill(worker);
    fleet.gate.open();
  });
});

for (const [what, program] of [
  ['packs the changes', 'mksquashfs'],
  ['writes the medium', 'xorriso'],
] as const) {
  scenario(`killed while it ${what}`, async (fleet) => {
    const fault = async (_: string, worker: Parameters<typeof kill>[0]) => {
      await waitForProcess(fleet.workDirectory, new RegExp(` stopped ${program} `));
      await kill(worker);
    };
    await buildOver(fleet, ['libfoo'], fault, stopProgram(program));
  });

  scenario(`cancelled while it ${what}`, async (fleet) => {
    await startNext(fleet, stopProgram(program));
    const { buildId } = await fleet.submit(fleet.request());
    await waitForProcess(fleet.workDirectory, new RegExp(` stopped ${program} `));
    assert.is(await fleet.cancel(buildId), 202);
    assert.is((await fleet.ended(buildId)).state, 'cancelled');
  });
}

scenario('killed while it compares the new medium with its base', async (fleet) => {
  fleet.gate.close();
  const fault = async (buildId: string, worker: Parameters<typeof kill>[0]) => {
    await fleet.gate.reached();
    await fleet.when(buildId, isIn('check'));
    await kill(worker);
    fleet.gate.open();
  };
  await buildOver(fleet, ['libfoo'], fault, holdAt(fleet, /\/image\.iso$/));
});
test.run();
