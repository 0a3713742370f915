import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Fleet } from '../../lab/fleet/fleet.ts';
import { waitForProcess } from '../../lab/fleet/processes.ts';
import { assertEndedWell, buildOver, holdAt, isIn, kill, scenarios, startNext } from '../system/faults/scenarios.ts';
import { smallImage } from '../system/faults/small-image.ts';

/** The same with the vm guest: workers and QEMU killed in the middle of builds. */

const scenario = scenarios(async () => ({
  base: await smallImage(),
  // From inside the vm there is no way to the gate: it takes long enough for QEMU to be stopped meanwhile.
  packages: () => [{ name: 'takes-long', scripts: { postinst: 'echo its script runs; sleep 15' } }],
  settings: { IMAGEBUILDER_GUEST: 'vm' },
}));

/** Resolves with QEMU's process id, in the middle of the installation, QEMU stopped. */
async function stopInInstallation(fleet: Fleet, buildId: string): Promise<number> {
  await fleet.when(
    buildId,
    ({ event, logTail }) => event.step === 'install' && logTail.some((line) => line.includes('its script runs')),
  );
  const qemu = await waitForProcess(fleet.workDirectory, /^qemu-system-/);
  process.kill(qemu, 'SIGSTOP');
  return qemu;
}

scenario('killed while a package is being installed in the vm, and again while it packs', async (fleet) => {
  fleet.gate.close();
  const first = await startNext(fleet);
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['takes-long'] }));
  await stopInInstallation(fleet, buildId);
  await kill(first);
  const second = await startNext(fleet, holdAt(fleet, /\/image\.qcow2\.partial$/));
  await fleet.gate.reached();
  await fleet.when(buildId, isIn('repack'));
  await kill(second);
  fleet.gate.open();
  await startNext(fleet);
  await assertEndedWell(fleet, await fleet.ended(buildId), 3);
});

scenario('QEMU killed in the middle of an installation: the build is tried again', async (fleet) => {
  const { event } = await buildOver(fleet, ['takes-long'], async (buildId) => {
    process.kill(await stopInInstallation(fleet, buildId), 'SIGKILL');
  });
  assert.ok(event.image?.packages?.some(({ name }) => name === 'takes-long'));
});

test.run();
