import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import { endpoints } from '../../../charm/src/state.ts';
import { readCharmcraft } from '../../../packaging/charm/charmcraft.ts';

/** The charm, its charmcraft.yaml and docs/juju.md name the same things. */

const root = join(import.meta.dirname, '../../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const charmcraft = readCharmcraft(read('charm/charmcraft.yaml'));
const page = read('docs/juju.md');
const { provides = {}, requires = {}, config, actions = {}, storage = {} } = charmcraft;
const options = config?.options ?? {};

/** The texts in backticks of the first cells of the table with this heading. */
function firstCells(heading: string): string[] {
  const lines = page.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`| ${heading} |`)) + 2;
  const rows = lines.slice(start, lines.indexOf('', start));
  return rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, text = '']) => text));
}

test('the endpoints of the program are those of charmcraft.yaml and of the page', () => {
  const declared = [...Object.keys(provides), ...Object.keys(requires)].toSorted();
  assert.equal([...endpoints].toSorted(), declared);
  assert.equal(firstCells('Relation').toSorted(), declared);
});

test('the actions of charmcraft.yaml are those of the page', () => {
  assert.equal(firstCells('Action').toSorted(), Object.keys(actions).toSorted());
});

test('the page names every option that is a secret', () => {
  const secrets = Object.entries(options).filter(([, { type }]) => type === 'secret');
  assert.equal(firstCells('Option').toSorted(), secrets.map(([name]) => name).toSorted());
});

test('every option that the page sets is one of the charm', () => {
  const set = [...page.matchAll(/juju config imagebuilder ([a-z-]+)=/g)].map(([, name = '']) => name);
  assert.ok(set.length > 1);
  for (const name of set) assert.ok(name in options, name);
});

/** The beginnings of the statuses in the program, up to what differs from unit to unit. */
function statuses(): string[] {
  return globSync('charm/src/**/*.ts', { cwd: root }).flatMap((path) => {
    const calls = read(path).matchAll(
      /(?:blocked\(|waiting\(|failed\(|'(?:active|blocked|maintenance|waiting)', )\s*[`']([^`'$:(]+)/g,
    );
    return [...calls].map(([, text = '']) => text.trim());
  });
}

test('the page explains every status of the program', () => {
  const found = statuses();
  assert.ok(found.length > 15, found.join('\n'));
  for (const text of found) {
    const words = text.split(' ').slice(0, 4).join(' ');
    assert.ok(page.includes(`\`${words}`), `docs/juju.md has no status ${text}`);
  }
});

test('options whose values may be lists, sizes or addresses are texts, and others are numbers and truths', () => {
  const types = (names: readonly string[]) => names.map((name) => options[name]?.type);
  const texts = ['egress-tunnel-ports', 'egress-allow-private', 'vm-memory', 'vm-cpus', 'guest'];
  assert.equal(
    types(texts),
    texts.map(() => 'string'),
  );
  assert.equal(types(['xz-threads', 'lease', 'boot-check', 'egress-allow-loopback']), [
    'int',
    'float',
    'boolean',
    'boolean',
  ]);
});

interface Bundle {
  readonly applications: Readonly<Record<string, { options?: object; storage?: object; charm: string }>>;
  readonly relations: readonly (readonly string[])[];
}

test('the bundle of the page has no application, endpoint, option or storage that there is not', () => {
  const [, text = ''] = /```yaml\n([\s\S]*?)```/.exec(page) ?? [];
  const { applications, relations } = parse(text) as Bundle;
  const own = applications.imagebuilder;
  for (const name of Object.keys(own?.options ?? {})) assert.ok(name in options, name);
  for (const name of Object.keys(own?.storage ?? {})) assert.ok(name in storage, name);
  for (const name of ['rabbitmq-server', 'keystone', 'glance', 'swift-proxy']) assert.ok(name in applications, name);
  const related = new Set<string>();
  for (const relation of relations) {
    assert.is(relation.length, 2);
    for (const end of relation) {
      const [application = '', endpoint = ''] = end.split(':');
      assert.ok(application in applications, end);
      if (application === 'imagebuilder') assert.ok(endpoint in { ...provides, ...requires }, end);
      related.add(application);
    }
  }
  assert.equal([...related].toSorted(), Object.keys(applications).toSorted());
});

test.run();
