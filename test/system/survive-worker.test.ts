import { spawn } from 'node:child_process';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCgroup } from '#lib/guest/host/cgroup.ts';
import { removeGroup } from '#lib/guest/host/remove-group.js';
import { hashFile } from '#lib/image/digest.ts';
import { waitForProcess } from '../../lab/fleet/processes.ts';
import type { FunctionProcess } from '../../lab/servers/function.ts';
import { whenLong } from '../runner/long.ts';
import { assertInOrder } from './faults/events.ts';
import {
  assertEndedWell,
  buildOver,
  holdAt,
  isIn,
  kill,
  scenarios,
  startNext,
  stopProgram,
} from './faults/scenarios.ts';
import { smallImage } from './faults/small-image.ts';

/** Workers and what works for them killed in the middle of builds: the build ends well all the same, and nothing is left. */

const scenario = scenarios(async () => ({
  base: await smallImage(),
  // Searching the image's logs is what cleaning up begins with.
  packages: (gate) => [{ name: 'slow-seal', files: { '/usr/local/bin/find': findAtGate(gate.script) } }],
}));

const long = whenLong(scenario);
const findAtGate = (script: string) => `#!/bin/sh\n${script}\nexec /usr/bin/find "$@"\n`;

scenario('killed while it fetches the base image', async (fleet) => {
  fleet.images.hold();
  await buildOver(fleet, ['libfoo'], async (buildId, worker) => {
    await fleet.when(
      buildId,
      ({ event }) => event.step === 'fetch' && (event.current ?? 0) > 0.4 * fleet.base.sizeBytes,
    );
    await kill(worker);
    fleet.images.release();
  });
  const resumedAt = fleet.images.starts.at(-1) ?? 0;
  assert.ok(resumedAt > 0.3 * fleet.base.sizeBytes, `what was fetched before is not fetched again: ${resumedAt}`);
});

long('killed while it reads the signing key of a PPA', async (fleet) => {
  fleet.gate.close();
  const fault = async (_: string, worker: FunctionProcess) => {
    await fleet.gate.reached();
    const files = await readdir(fleet.workDirectory, { recursive: true });
    assert.ok(
      files.some((name) => /\/key-[^/]+\/pubring\.kbx$/.test(name)),
      files.join(' '),
    );
    await kill(worker);
    fleet.gate.open();
  };
  await buildOver(fleet, ['libfoo'], fault, holdAt(fleet, /\/key-[^/]+ removed$/));
});

for (const [step, path] of [
  ['inspect', /\/base-image$/],
  ['open', /\/sys\/block\/loop\d+\/dev$/],
  ['check', /\/image\.qcow2$/],
] as const) {
  (step === 'open' ? scenario : long)(`killed in the step ${step}`, async (fleet) => {
    fleet.gate.close();
    const fault = async (buildId: string, worker: FunctionProcess) => {
      await fleet.gate.reached();
      await fleet.when(buildId, isIn(step));
      await kill(worker);
      fleet.gate.open();
    };
    await buildOver(fleet, ['libfoo'], fault, holdAt(fleet, path));
  });
}

long('killed while apt waits for an answer of the PPA', async (fleet) => {
  const lists = /\/Packages(\.|$)/;
  fleet.launchpad.fault(lists, { kind: 'stall' });
  const before = fleet.launchpad.requests.length;
  await buildOver(fleet, ['libfoo'], async (buildId, worker) => {
    await fleet.when(buildId, isIn('sources'));
    while (!fleet.launchpad.requests.slice(before).some(({ path }) => lists.test(path))) await sleep(5);
    await kill(worker);
    fleet.launchpad.fault(lists, null);
  });
});

long('apt killed while it fetches the package lists: the build is tried again', async (fleet) => {
  const lists = /\/Packages(\.|$)/;
  fleet.launchpad.fault(lists, { kind: 'stall' });
  const before = fleet.launchpad.requests.length;
  await buildOver(fleet, ['libfoo'], async (buildId) => {
    await fleet.when(buildId, isIn('sources'));
    while (!fleet.launchpad.requests.slice(before).some(({ path }) => lists.test(path))) await sleep(5);
    process.kill(await waitForProcess(fleet.workDirectory, /^apt-get /), 'SIGKILL');
    fleet.launchpad.fault(lists, null);
  });
});

long('killed while it cleans up inside the image', async (fleet) => {
  fleet.gate.close();
  await buildOver(fleet, ['slow-seal'], async (buildId, worker) => {
    await fleet.gate.reached();
    await fleet.when(buildId, isIn('seal'));
    await kill(worker);
    fleet.gate.open();
  });
});

long('killed while a package is being installed', async (fleet) => {
  fleet.gate.close();
  await buildOver(fleet, ['slow'], async (_, worker) => {
    await fleet.gate.reached();
    await kill(worker);
    fleet.gate.open();
  });
});

scenario('killed together with its supervisor, as when a container is killed', async (fleet) => {
  fleet.gate.close();
  await buildOver(fleet, ['slow'], async (_, worker) => {
    await fleet.gate.reached();
    const supervisor = await waitForProcess(fleet.workDirectory, /supervisor\.js/);
    process.kill(supervisor, 'SIGKILL');
    await kill(worker);
    fleet.gate.open();
  });
});

long('killed while it packs the image', async (fleet) => {
  const fault = async (buildId: string, worker: FunctionProcess) => {
    await fleet.when(buildId, isIn('repack'));
    await waitForProcess(fleet.workDirectory, /cp --no-preserve/);
    await kill(worker);
  };
  // Packing begins with a copy of the base image.
  await buildOver(fleet, ['libfoo'], fault, stopProgram('cp'));
});

scenario('killed while it uploads', async (fleet) => {
  fleet.gate.close();
  const fault = async (_: string, worker: FunctionProcess) => {
    await fleet.gate.reached();
    await kill(worker);
    assert.ok((await fleet.leftFiles()).some((name) => name.startsWith('.incoming-')));
    fleet.gate.open();
  };
  await buildOver(fleet, ['libfoo'], fault, holdAt(fleet, /\/\.incoming-[^/]+\/[^/]+\.qcow2$/));
});

long(
  'killed while it keeps the finished image: the next one is right, and what is kept stays within its bound',
  async (fleet) => {
    const kept = (bytes: number) => ({ IMAGEBUILDER_FINISHED_CACHE_SIZE: String(bytes) });
    const first = await startNext(fleet, kept(2 ** 30));
    const { buildId: former } = await fleet.submit(fleet.request());
    const size = (await fleet.ended(former)).event.image?.size ?? 0;
    await kill(first);

    const bound = kept(Math.round(2.5 * size));
    fleet.gate.close();
    const second = await startNext(fleet, { ...bound, ...holdAt(fleet, /\/finished\/blobs\/[0-9a-f]+ moved$/) });
    const { buildId } = await fleet.submit(fleet.request({ reuse: false }));
    await fleet.gate.reached();
    await kill(second);
    fleet.gate.open();
    await startNext(fleet, bound);
    await assertEndedWell(fleet, await fleet.ended(buildId), 2);

    const folder = join(fleet.directory, 'cache', 'finished');
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
    const sizes = await Promise.all(files.map(async (path) => (await stat(path)).size));
    assert.ok(sizes.reduce((sum, bytes) => sum + bytes, 0) <= 2.5 * size, `${files.join(' ')} ${sizes.join(' ')}`);

    const { buildId: again } = await fleet.submit(fleet.request());
    const { image } = (await fleet.ended(again)).event;
    assert.ok(image);
    assert.ok([former, buildId].includes(image.reused?.build_id ?? ''), JSON.stringify(image.reused));
    assert.equal((await hashFile(fileURLToPath(image.location))).checksums, image.checksums);
  },
);

long('the supervisor killed: the build is tried again', async (fleet) => {
  fleet.gate.close();
  await buildOver(fleet, ['slow'], async () => {
    await fleet.gate.reached();
    const supervisor = await waitForProcess(fleet.workDirectory, /supervisor\.js/);
    fleet.gate.open();
    process.kill(supervisor, 'SIGKILL');
  });
});

long('the storage daemon killed under the live mount: the build is tried again', async (fleet) => {
  fleet.gate.close();
  await buildOver(fleet, ['slow'], async () => {
    await fleet.gate.reached();
    const daemon = await waitForProcess(fleet.workDirectory, /^qemu-storage-daemon/);
    process.kill(daemon, 'SIGKILL');
    fleet.gate.open();
  });
});

long('apt killed inside the image, as when memory has run out: the build is tried again', async (fleet) => {
  fleet.gate.close();
  await buildOver(fleet, ['slow'], async () => {
    await fleet.gate.reached();
    process.kill(await waitForProcess(fleet.workDirectory, /^apt-get /), 'SIGKILL');
    fleet.gate.open();
  });
});

scenario('killed by the kernel, with what it had started, because its memory is used up', async (fleet) => {
  await using group = await openCgroup(join(fleet.directory, 'memory'), {
    guestMemoryBytes: 768 * 1024 * 1024,
    guestProcesses: 10_000,
    guestCpus: null,
  });
  await using stack = new AsyncDisposableStack();
  if (group.missing.memory !== undefined) return console.log(`no cgroup here: ${group.missing.memory}`);
  const enter = async (id: number | undefined) => {
    for (const door of group.doors) await writeFile(door, String(id));
  };
  const first = await startNext(fleet);
  await enter(first.child.pid);
  // As Kubernetes has it for pods that take more than they asked for; inherited by all that the worker starts.
  await writeFile(`/proc/${first.child.pid}/oom_score_adj`, '900');
  fleet.gate.close();
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  await fleet.gate.reached();
  // Somebody in the same container takes memory, and it is not this one whom the kernel chooses.
  const eater = spawn(process.execPath, ['-e', eatMemory]);
  try {
    await enter(eater.pid);
    eater.stdin.end();
    await first.exited;
  } finally {
    eater.kill('SIGKILL');
    // Below this test's group, where no later worker looks; in a container it is the same for all.
    stack.defer(async () => {
      for (const folder of group.folders) {
        for (const entry of await readdir(folder, { withFileTypes: true })) {
          if (entry.isDirectory()) await removeGroup(join(folder, entry.name));
        }
      }
    });
  }
  assert.is(first.child.signalCode, 'SIGKILL');
  assert.ok((await group.hits()).memory > 0);
  fleet.gate.open();
  await startNext(fleet);
  await assertEndedWell(fleet, await fleet.ended(buildId), 2);
});

/** Begins when its standard input ends. */
const eatMemory = `
const eaten = [];
process.stdin.resume().on('end', () => setInterval(() => eaten.push(Buffer.alloc(8 * 1024 * 1024, 1)), 1));
`;

scenario('a build over which three workers have died fails, once, and its job is kept', async (fleet) => {
  const { buildId } = await fleet.submit(fleet.request({ package_list: ['slow'] }));
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    fleet.gate.close();
    const worker = await startNext(fleet);
    await fleet.gate.reached();
    const { owner } = await fleet.when(buildId, (build) => build.attempt === attempt);
    assert.is(fleet.workerNamed(owner ?? ''), worker);
    await kill(worker);
  }
  await startNext(fleet);
  const { event } = await fleet.ended(buildId);
  assert.equal([event.state, event.error?.code, event.error?.fault], ['failed', 'build.attempts_exhausted', 'service']);
  assertInOrder(await fleet.notifications(buildId));
  assert.equal(await fleet.buriedBuilds(), [buildId]);
});

test.run();
