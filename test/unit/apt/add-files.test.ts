import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { addFiles } from '#lib/apt/outside/add-files.ts';
import { type AptState, stateOf } from '#lib/apt/outside/state.ts';

const usual = [
  'Dir "/";',
  'Dir::Etc "etc/apt";',
  'Dir::Etc::sourceparts "sources.list.d";',
  'Dir::Etc::trustedparts "trusted.gpg.d";',
];
const record = (kind: string, name: string, text: string) => ({ kind, name, content: Buffer.from(text) });
const parts = (configuration: readonly string[] = usual) => [
  record('configuration', '-', configuration.join('\n')),
  record('source', '-', 'deb http://archive.example bookworm main\n'),
  record('source-part', 'middle.list', 'deb http://other.example bookworm main\n'),
  record('trusted-part', 'middle.gpg', 'key'),
];
const stateWith = (apt: AptState, files = new Map<string, Buffer>()) => ({
  facts: { aptVersion: '2.6.1', architecture: 'amd64', foreignArchitectures: [] },
  ...{ apt, files },
});

test('a state with files that are added to it is the one that is read with them in place', () => {
  const added = [
    ['/etc/apt/sources.list.d/a-ppa.sources', 'source-part', 'Types: deb\n'],
    ['/etc/apt/sources.list.d/z.list', 'source-part', 'deb http://z.example bookworm main\n'],
    ['/etc/apt/sources.list.d/middle.list', 'source-part', 'deb http://new.example bookworm main\n'],
    ['/etc/apt/trusted.gpg.d/a.gpg', 'trusted-part', 'another key'],
  ] as const;
  const records = added.map(([path, kind, text]) => record(kind, path.split('/').at(-1) ?? '', text));
  const others = parts().filter(({ kind, name }) => !records.some((each) => each.kind === kind && each.name === name));
  const files = added.map(([path, , text]) => ({ path, content: text }));
  const found = addFiles(stateWith(stateOf(parts(), '2.6.1')), files);
  assert.equal(found, stateWith(stateOf([...others, ...records], '2.6.1')));
});

test('keyrings that sources name are files of their own', () => {
  const state = stateWith(stateOf(parts(), '2.6.1'), new Map([['/old', Buffer.from('1')]]));
  const found = addFiles(state, [{ path: '/etc/apt/keyrings/a.gpg', content: new Uint8Array([1]) }]);
  assert.equal(
    found?.files,
    new Map([
      ['/old', Buffer.from('1')],
      ['/etc/apt/keyrings/a.gpg', Buffer.from([1])],
    ]),
  );
  assert.equal(found?.apt, state.apt);
});

test('the state of an apt that reads other folders is not known before they are read', () => {
  for (const line of usual) {
    const configuration = usual.filter((other) => other !== line);
    assert.is(addFiles(stateWith(stateOf(parts(configuration), '2.6.1')), []), null, line);
  }
});

test.run();
