import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { isTraced, type TrialMachine, tracedRead, trialCommand } from '#lib/guest/vm/trial-machine.ts';
import { processorSeconds, watchForStall } from '#lib/guest/vm/trial-stall.ts';

/** Trials of booting: the machine's command line, the reads that it reports, and its stalls. */

const machine: TrialMachine = {
  ...{ emulator: 'qemu-system-x86_64', accelerator: 'tcg', firmware: 'uefi', drive: 'cd' },
  image: { path: '/builds/image.iso', format: 'raw' },
  ...{ overlayPath: '/builds/trial.qcow2', variablesPath: '/builds/variables.fd', directory: '/builds/guest' },
  ...{ reportsReads: true, givesOrders: true, consolePort: 3, monitorPort: 4 },
};

test('a medium is a CD that cannot be written, or a disk below an overlay', () => {
  const cd = trialCommand(machine);
  assert.match(cd.arguments.join(' '), /-device ide-cd,drive=base,bootindex=1/);
  assert.equal(
    cd.files.filter(({ writable }) => writable).map(({ path }) => path),
    ['/builds/variables.fd'],
  );
  const disk = trialCommand({ ...machine, drive: 'disk', firmware: 'bios' });
  assert.match(disk.arguments.join(' '), /-device ide-hd,drive=image,bootindex=1/);
  assert.equal(
    disk.files.map(({ path, writable }) => [path, writable]),
    [
      ['/builds/image.iso', false],
      ['/builds/trial.qcow2', true],
    ],
  );
});

test('orders for the system and reports of reads are left out where they are not wanted', () => {
  const words = trialCommand({ ...machine, reportsReads: false, givesOrders: false }).arguments.join(' ');
  assert.not.match(words, /-smbios|-trace/);
});

test('reads are found in the words of several versions of QEMU, and no other line is one', () => {
  const plain = 'blk_co_preadv blk 0x5629c52693c0 bs 0x5629c46f4840 offset 34816 bytes 2048 flags 0x0';
  assert.equal(tracedRead(plain), { offsetBytes: 34816, sizeBytes: 2048 });
  assert.equal(tracedRead(`1234@1700000000.123456:${plain}`), { offsetBytes: 34816, sizeBytes: 2048 });
  const firmware = plain.replace('offset 34816', 'offset 0');
  assert.is(tracedRead(firmware), null);
  assert.ok(isTraced(firmware));
  for (const line of [
    '',
    'qemu: could not open',
    `${'x'.repeat(100)}${plain}`,
    plain.replace('34816', '9'.repeat(30)),
  ]) {
    assert.is(tracedRead(line), null, line);
  }
  assert.not(isTraced('qemu-system-x86_64: blk_co_preadv failed'));
});

test('a machine that waits has stalled after two minutes, however busy the worker is', () => {
  const idle = watchForStall();
  const busyWorker = watchForStall();
  for (let at = 0; at < 120; at += 5) {
    assert.is(idle({ at, processor: 20 + at * 0.02, parts: 7, hasKernel: true }), null);
  }
  assert.match(idle({ at: 120, processor: 22.5, parts: 7, hasKernel: true }) ?? '', 'has done nothing for 120 seconds');
  for (let at = 0; at < 900; at += 5) {
    const reason = busyWorker({ at, processor: 20 + at * 0.07, parts: 7, hasKernel: true });
    assert.is(reason, null, 'a fourteenth of a processor is progress');
  }
});

test('a machine that waits after it has computed for a while has stalled as soon', () => {
  const judge = watchForStall();
  for (let at = 0; at < 180; at += 5) {
    assert.is(judge({ at, processor: Math.min(at, 60), parts: 7, hasKernel: true }), null);
  }
  assert.match(
    judge({ at: 180, processor: 60.5, parts: 7, hasKernel: true }) ?? '',
    'has done nothing for 120 seconds',
  );
});

test('a boot loader that waits or computes in circles has stalled sooner', () => {
  const judge = watchForStall();
  assert.is(judge({ at: 0, processor: 0, parts: 1, hasKernel: false }), null);
  assert.is(judge({ at: 25, processor: 0.1, parts: 1, hasKernel: false }), null);
  assert.match(judge({ at: 30, processor: 0.1, parts: 1, hasKernel: false }) ?? '', 'nothing for 30 seconds');
  assert.match(judge({ at: 200, processor: 41, parts: 1, hasKernel: false }) ?? '', 'has computed for 41 seconds');
});

test('a machine that computes in circles has stalled after three minutes of a processor, and each new read counts', () => {
  const judge = watchForStall();
  let parts = 0;
  for (let at = 0; at < 600; at += 5) {
    if (at % 100 === 0) parts += 1;
    assert.is(judge({ at, processor: at, parts, hasKernel: true }), null);
  }
  assert.match(
    judge({ at: 790, processor: 790, parts, hasKernel: true }) ?? '',
    /has computed for \d+ seconds and read nothing new/,
  );
});

test('the processor time of this process is known, and that of none is not', async () => {
  const seconds = await processorSeconds(process.pid);
  assert.ok(seconds !== null && seconds > 0 && seconds < 600);
  assert.is(await processorSeconds(2 ** 30), null);
});

test.run();
