import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { toolsFor } from '#lib/doctor/tools.ts';
import { kernelPackages } from '#lib/guest/vm/kernel.ts';
import { findTool } from '#lib/tools.ts';

const repository = join(import.meta.dirname, '../../..');
const read = (path: string) => readFileSync(join(repository, path), 'utf8');

/** In every Debian system and container image. */
const essential = ['apt', 'coreutils', 'dpkg', 'libc-bin', 'tar'];
const always = toolsFor('amd64').filter(({ users }) => users.some((user) => user !== 'touch'));
const needed = [...new Set([...always.map((tool) => tool.package), kernelPackages.amd64 ?? ''])].filter(
  (name) => !essential.includes(name),
);

test('the set-up installs the package of every tool that a worker calls', () => {
  const { run, vm } = JSON.parse(read('scripts/debian-packages.json')) as Record<'run' | 'vm', string[]>;
  const installed = [...run, ...vm].flatMap((entry) => entry.split(' | '));
  for (const name of needed) assert.ok(installed.includes(name), `${name} is missing in the groups run and vm`);
});

test('tests install what images of another architecture need, which is an operator’s choice', () => {
  const { touch } = JSON.parse(read('scripts/debian-packages.json')) as Record<'touch', string[]>;
  const wanted = toolsFor('amd64').filter(({ users }) => users.includes('touch'));
  for (const { package: name } of wanted) assert.ok(touch.includes(name) || essential.includes(name), name);
  assert.ok(wanted.length > 2);
});

test('so does the image of the worker', () => {
  const stack = read('stack.yml');
  const worker = stack.slice(stack.indexOf('\n  build-worker:'));
  const installed = /ADDITIONAL_PACKAGE: ([^\n]*(?:\n {8,}[^\n]*)*)/.exec(worker)?.[1]?.split(/\s+/) ?? [];
  for (const name of needed) assert.ok(installed.includes(name), `${name} is missing in ADDITIONAL_PACKAGE`);
});

test('a tool is found where it can be run, and nowhere else', async () => {
  assert.is(await findTool('sh', '/nonexistent:/bin'), '/bin/sh');
  assert.is(await findTool('sh', '/nonexistent'), null);
  assert.is(await findTool('passwd', '/etc'), null, 'a file that nobody may run');
});

test.run();
