import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { importsOf } from '../../runner/imports.ts';

/** The imports between folders, types included: the direction that docs/architecture.md describes. */

const repository = join(import.meta.dirname, '../../..');
const files = globSync(['lib/**/*.{ts,js}', 'bin/**/*.ts', 'functions/**/*.ts', 'template/**/*.ts'], {
  cwd: repository,
});
const graph = new Map(files.map((file) => [file, importsOf(repository, file)]));

/** The first circle of imports, as the files along it; null where there is none. */
function findCycle(): string[] | null {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | null => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return null;
    for (const target of graph.get(file) ?? []) {
      const cycle = visit(target, [...path, file]);
      if (cycle !== null) return cycle;
    }
    done.add(file);
    return null;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

/** The folders that each folder of lib may import beside itself and the files of lib itself. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  config: ['openpgp'],
  api: [],
  http: [],
  openpgp: [],
  fetch: ['api', 'folders', 'http'],
  folders: ['config'],
  image: ['api', 'tar'],
  ext4: ['image'],
  iso9660: ['image'],
  medium: ['image', 'iso9660'],
  squashfs: ['image', 'tar'],
  tar: [],
  metrics: ['api'],
  queue: ['api'],
  store: ['api', 'config', 'folders', 'http'],
  trace: ['config'],
  guest: ['api', 'fetch', 'folders', 'image'],
  boot: ['guest', 'image'],
  apt: ['api', 'fetch', 'folders', 'guest', 'http', 'image', 'openpgp'],
  limits: ['guest'],
  manifest: ['api', 'apt', 'config', 'guest', 'fetch'],
  provenance: ['api'],
  kinds: [
    'api',
    'apt',
    'boot',
    'ext4',
    'fetch',
    'guest',
    'image',
    'iso9660',
    'limits',
    'medium',
    'squashfs',
    'store',
    'tar',
  ],
  pipeline: [
    'api',
    'apt',
    'boot',
    'config',
    'fetch',
    'folders',
    'guest',
    'http',
    'image',
    'kinds',
    'limits',
    'manifest',
    'openpgp',
    'provenance',
    'store',
  ],
  worker: ['api', 'http', 'pipeline', 'kinds', 'queue', 'trace'],
  client: ['api', 'http'],
  serve: ['api', 'config', 'folders', 'http', 'metrics'],
  doctor: ['api', 'config', 'folders', 'guest', 'http', 'queue', 'store'],
};

test('nothing imports in a circle', () => {
  assert.ok(graph.size > 100, 'the files are found');
  assert.is(findCycle()?.join('\n imports '), undefined);
});

test('commands of users and the lab that they share import no test files', () => {
  for (const file of globSync(['{bench,bin,lab,quickstart,scripts,soak}/**/*.ts'], { cwd: repository })) {
    for (const target of importsOf(repository, file))
      assert.not(target.startsWith('test/'), `${file} imports ${target}`);
  }
});

test('imports go downwards only', () => {
  for (const [file, targets] of graph) {
    const [, folder = '', ...below] = file.split('/');
    if (!file.startsWith('lib/')) continue;
    for (const target of targets) {
      if (target === 'package.json' || (folder === 'serve' && target.startsWith('template/'))) continue;
      const [top, targetFolder = '', ...targetBelow] = target.split('/');
      assert.is(top, 'lib', `${file} imports ${target}`);
      if (targetBelow.length === 0 || (below.length > 0 && targetFolder === folder)) continue;
      assert.ok(below.length > 0, `${file} imports ${target}: the files of lib itself import no folder`);
      assert.ok(allowed[folder]?.includes(targetFolder), `${file} imports ${target}`);
    }
  }
});

test('requests to other servers go through lib/http', () => {
  const users = files.filter((file) => readFileSync(join(repository, file), 'utf8').includes("from 'got'"));
  assert.ok(users.length > 0 && users.every((file) => file.startsWith('lib/http/')), users.join());
});

test('the template imports nothing else, and only `imagebuilder serve` reaches what imports it', () => {
  for (const [file, targets] of graph) {
    if (file.startsWith('template/')) for (const target of targets) assert.match(target, /^template\//, file);
  }
  // A function's image has lib/ and the command, but no folder template/.
  const reached = new Set(
    [...graph.keys()].filter((file) => file.startsWith('functions/')).concat('bin/imagebuilder.ts'),
  );
  for (const file of reached) {
    for (const target of graph.get(file) ?? []) if (target !== 'bin/serve-command.ts') reached.add(target);
  }
  assert.ok(reached.size > 200);
  assert.equal(
    [...reached].filter((file) => file.startsWith('lib/serve/')),
    [],
  );
});

test('neither guest imports the other', () => {
  for (const [file, targets] of graph) {
    const other = /^lib\/guest\/host\//.test(file) ? 'lib/guest/vm/' : 'lib/guest/host/';
    if (!/^lib\/guest\/(host|vm)\//.test(file)) continue;
    for (const target of targets) assert.not(target.startsWith(other), `${file} imports ${target}`);
  }
});

test.run();
