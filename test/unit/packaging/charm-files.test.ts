import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from 'yaml';
import type { Charmcraft } from '../../../packaging/charm/charmcraft.ts';
import { dispatchFault } from '../../../packaging/charm/dispatch.ts';
import { generatedFiles } from '../../../packaging/charm/metadata.ts';
import type { Entry } from '../../../packaging/tree.ts';

/** The files of a charm that Juju and charmcraft's linter read. */

const charmcraft: Charmcraft = {
  name: 'imagebuilder',
  title: 'Image Builder',
  type: 'charm',
  summary: 'Rebuilds images.',
  description: 'Line one.\nLine two: with a colon.\n',
  base: 'ubuntu@24.04',
  platforms: { amd64: null, arm64: null },
  parts: { charm: { plugin: 'dump', source: '.', prime: ['dispatch'] } },
  links: {
    contact: ['A <a@example.org>'],
    documentation: 'https://docs.example.org/',
    website: ['https://example.org/'],
  },
  provides: { lander: { interface: 'imagebuilder' } },
  'extra-bindings': { public: null },
};
const packing = { version: '1.2.3', seconds: 1_700_000_000, architecture: 'arm64' };

test('metadata.yaml has what Juju reads, by its names for it, and nothing of the packing', () => {
  const metadata = parse(generatedFiles(charmcraft, packing).get('metadata.yaml') ?? '');
  assert.equal(metadata, {
    name: 'imagebuilder',
    'display-name': 'Image Builder',
    summary: 'Rebuilds images.',
    description: 'Line one.\nLine two: with a colon.\n',
    maintainers: ['A <a@example.org>'],
    docs: 'https://docs.example.org/',
    website: ['https://example.org/'],
    provides: { lander: { interface: 'imagebuilder' } },
    'extra-bindings': { public: null },
  });
});

test('manifest.yaml names the base and the one architecture of the charm', () => {
  const { bases, ...others } = parse(generatedFiles(charmcraft, packing).get('manifest.yaml') ?? '');
  assert.equal(bases, [{ name: 'ubuntu', channel: '24.04', architectures: ['arm64'] }]);
  // Else YAML would have a number that Juju does not take for a channel.
  assert.match(generatedFiles(charmcraft, packing).get('manifest.yaml') ?? '', 'channel: "24.04"');
  assert.is(others['charmcraft-started-at'], '2023-11-14T22:13:20.000Z');
  assert.equal(
    others.analysis.attributes.map(({ name }: { name: string }) => name),
    ['language', 'framework'],
  );
});

test('config.yaml and actions.yaml are there where there are options and actions', () => {
  assert.equal([...generatedFiles(charmcraft, packing).keys()], ['metadata.yaml', 'manifest.yaml']);
  const options = { port: { type: 'int' as const, default: 8000, description: 'Port.' } };
  const actions = { pause: { description: 'Pauses.', additionalProperties: false } };
  const files = generatedFiles({ ...charmcraft, config: { options }, actions }, packing);
  assert.equal(parse(files.get('config.yaml') ?? ''), { options });
  assert.equal(parse(files.get('actions.yaml') ?? ''), actions);
});

const files = new Map<string, Entry>([
  ['src/main.ts', { content: '', mode: 0o755 }],
  ['src/other.ts', { content: '' }],
  ['src/linked.ts', { link: 'main.ts' }],
]);

for (const [title, text, fault] of [
  ['an entry point', '#!/bin/sh\ncd x\nexec node src/main.ts\n\n', null],
  ['arguments after the entry point', '#!/bin/sh\nexec node src/main.ts "$@"\n', '"$@" is none'],
  ['a variable', '#!/bin/sh\nexec node "$here/src/main.ts"\n', 'main.ts" is none'],
  ['an entry point that cannot be run', '#!/bin/sh\nexec node src/other.ts', 'src/other.ts, with which dispatch ends'],
  ['no entry point', '', 'must begin with #!/'],
] as const) {
  test(`dispatch with ${title}: ${fault ?? 'no fault'}`, () => {
    const found = dispatchFault(text, files);
    if (fault === null) assert.is(found, null);
    else assert.match(found ?? '', fault);
  });
}

test.run();
