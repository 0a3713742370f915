import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { architectureOf, architectures, programHeadBytes, runsOn, workerArchitecture } from '#lib/architecture.ts';

const program = (bits: 1 | 2, order: 1 | 2, machine: number) => {
  const head = Buffer.alloc(programHeadBytes);
  head.write('\x7fELF', 'latin1');
  head[4] = bits;
  head[5] = order;
  if (order === 2) head.writeUInt16BE(machine, 18);
  else head.writeUInt16LE(machine, 18);
  return head;
};

test('the architecture of a program is read from its ELF header', () => {
  assert.is(architectureOf(program(2, 1, 62)), 'amd64');
  assert.is(architectureOf(program(1, 1, 62)), 'x32');
  assert.is(architectureOf(program(1, 1, 3)), 'i386');
  assert.is(architectureOf(program(2, 1, 183)), 'arm64');
  assert.is(architectureOf(program(2, 2, 22)), 's390x');
});

test('a script, a short file and a processor without a name have no architecture', () => {
  for (const head of ['', '#!/bin/sh\necho a long enough script', '\x7fELF']) {
    assert.is(architectureOf(Buffer.from(head, 'latin1')), null);
  }
  assert.is(architectureOf(program(2, 1, 0xffff)), null);
});

test('this machine runs its own programs, and has a name here', () => {
  assert.is(architectureOf(readFileSync(process.execPath).subarray(0, programHeadBytes)), workerArchitecture);
  assert.ok(architectures.includes(workerArchitecture));
  assert.ok(runsOn(workerArchitecture, workerArchitecture));
});

test('a processor of 64 bits runs programs of its 32 bits, and those of no other', () => {
  assert.ok(runsOn('amd64', 'i386'));
  assert.ok(runsOn('arm64', 'armhf'));
  for (const [worker, other] of [
    ['amd64', 'arm64'],
    ['arm64', 'amd64'],
    ['i386', 'amd64'],
    ['riscv64', 'i386'],
  ] as const) {
    assert.is(runsOn(worker, other), false);
  }
});

test.run();
