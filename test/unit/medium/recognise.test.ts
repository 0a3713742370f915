import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import type { LiveStart, Medium, MediumFiles } from '#lib/medium/medium.ts';
import { chooseLayers, recogniseMedium } from '#lib/medium/recognise.ts';

/** The layouts of real media, as their publishers list them. */

interface Layout {
  readonly folder: string;
  readonly layers: readonly string[];
  readonly texts?: Readonly<Record<string, string>>;
  /** Entries of its boot menus. */
  readonly starts?: readonly LiveStart[];
}

function filesOf({ folder, layers, texts = {}, starts = [] }: Layout): MediumFiles {
  const paths = layers.flatMap((layer) =>
    ['squashfs', 'squashfs.gpg', 'manifest', 'size'].map((end) => `${layer}.${end}`),
  );
  return {
    paths: [
      ...paths.map((path) => `${folder}/${path}`),
      `${folder}/vmlinuz`,
      `${folder}/initrd`,
      'pool/main/a.deb',
      ...Object.keys(texts),
    ],
    readText: (path) => texts[path] ?? assert.unreachable(`${path} is not there`) ?? '',
    starts,
  };
}

/** Names of layers without their folder and suffix. */
const short = (layers: readonly string[]) => layers.map((layer) => layer.replace(/^.*\//, '').replace('.squashfs', ''));
const viewsOf = ({ views }: Medium) =>
  views.map(({ layers, live }) => `${short(layers).join(' < ')}${live ? ' (live)' : ''}`);

const source = (id: string, path: string, more = '') =>
  `- id: ${id}\n  path: ${path}.squashfs\n  size: 100\n  type: fsimage-layered\n${more}`;
const desktopSources = `kernel:\n  default: linux-generic\nsources:\n${source(
  'ubuntu-desktop-minimal',
  'minimal',
  "  default: true\n  preinstalled_langs: [de, '']\n  variations:\n    minimal: {path: minimal.squashfs, size: 100}\n    core-boot: {path: minimal.enhanced-secureboot.squashfs, size: 90, snapd_system_label: x}\n",
)}${source('ubuntu-desktop', 'minimal.standard')}version: 2\n`;
const server = 'ubuntu-server-minimal';

const layouts: Readonly<Record<string, readonly [Layout, views: readonly string[], sources: readonly string[]]>> = {
  'Ubuntu 18.04 desktop, Linux Mint': [
    { folder: 'casper', layers: ['filesystem'] },
    ['filesystem (live)'],
    ['*filesystem filesystem'],
  ],
  'Ubuntu 18.04 and 20.04 server': [
    { folder: 'casper', layers: ['filesystem', 'installer'] },
    ['filesystem', 'filesystem < installer (live)'],
    ['*filesystem filesystem'],
  ],
  'Ubuntu 22.04 and 24.04 server': [
    {
      folder: 'casper',
      layers: [
        server,
        `${server}.ubuntu-server`,
        `${server}.ubuntu-server.installer`,
        `${server}.ubuntu-server.installer.generic`,
        `${server}.ubuntu-server.installer.generic-hwe`,
      ],
      texts: {
        'casper/install-sources.yaml':
          source('ubuntu-server', `${server}.ubuntu-server`, '  default: true\n') + source(server, server),
      },
    },
    [
      server,
      `${server} < ${server}.ubuntu-server`,
      `${server} < ${server}.ubuntu-server < ${server}.ubuntu-server.installer (live)`,
      ...['generic-hwe', 'generic'].map(
        (flavour) =>
          `${server} < ${server}.ubuntu-server < ${server}.ubuntu-server.installer < ${server}.ubuntu-server.installer.${flavour} (live)`,
      ),
    ],
    [`*ubuntu-server ${server}.ubuntu-server`, `${server} ${server}`],
  ],
  'Ubuntu 24.04 and 26.04 desktop': [
    {
      folder: 'casper',
      layers: [
        'minimal',
        'minimal.de',
        'minimal.enhanced-secureboot',
        'minimal.no-languages',
        'minimal.standard',
        'minimal.standard.de',
        'minimal.standard.live',
      ],
      texts: { 'casper/install-sources.yaml': desktopSources },
    },
    [
      'minimal < minimal.de',
      'minimal < minimal.enhanced-secureboot',
      'minimal < minimal.no-languages',
      'minimal',
      'minimal < minimal.standard < minimal.standard.de',
      'minimal < minimal.standard < minimal.standard.live (live)',
      'minimal < minimal.standard',
    ],
    ['*ubuntu-desktop-minimal minimal', 'ubuntu-desktop minimal.standard'],
  ],
  'a catalogue with fields without values, and a source of variations alone': [
    {
      folder: 'casper',
      layers: ['base', 'base.secure'],
      texts: {
        'casper/install-sources.yaml':
          '- {id: core, path: null, size: null, type: null}\n- id: one\n  default:\n  variations:\n- id: two\n  path:\n  variations:\n    x: {path: base.squashfs, size: 1}\n    y: {path: base.secure.squashfs}\n    z: {path: gone.squashfs}\n',
      },
    },
    ['base', 'base < base.secure'],
    ['*two base'],
  ],
  'layers of a flavour without a catalogue': [
    { folder: 'casper', layers: ['base', 'base.desktop', 'base.desktop.live'] },
    ['base < base.desktop < base.desktop.live (live)', 'base < base.desktop', 'base'],
    ['*filesystem base.desktop'],
  ],
  'Debian live': [{ folder: 'live', layers: ['filesystem'] }, ['filesystem (live)'], ['*filesystem filesystem']],
  'live-boot with an addition': [
    { folder: 'live', layers: ['filesystem', 'filesystem.z-ppa'] },
    ['filesystem < filesystem.z-ppa (live)'],
    ['*filesystem filesystem'],
  ],
  'live-boot with lists of modules': [
    {
      folder: 'live',
      layers: ['core', 'desktop', 'extra'],
      texts: {
        'live/filesystem.module': 'extra.squashfs\ncore.squashfs\n',
        'live/big.module': 'core.squashfs\ndesktop.squashfs',
      },
    },
    ['core < desktop (live)', 'extra < core (live)'],
    ['*filesystem core'],
  ],
};

/** An entry of a boot menu. */
const start = (more: Partial<LiveStart>): LiveStart => ({
  ...{ program: null, folder: null, topLayer: 'unknown', module: null },
  ...more,
});
const top = (name: string | null) => start({ topLayer: { name: name === null ? null : `${name}.squashfs` } });
const desktop = { folder: 'casper', layers: ['minimal', 'minimal.de', 'minimal.standard', 'minimal.standard.live'] };
const withCatalogue = { texts: { 'casper/install-sources.yaml': desktopSources } };
const chainsOf = (live: string) => [
  ...['minimal', 'minimal < minimal.de', 'minimal < minimal.standard'].map((view) =>
    view === live ? `${view} (live)` : view,
  ),
  `minimal < minimal.standard < minimal.standard.live${live === 'usual' ? ' (live)' : ''}`,
];
const desktopIds = ['*ubuntu-desktop-minimal minimal', 'ubuntu-desktop minimal.standard'];

/** Media whose boot menus or initial ramdisks say which layers the live session has. */
const started: typeof layouts = {
  'a medium that a tool has given a further layer of the live session': [
    {
      ...desktop,
      ...withCatalogue,
      layers: [...desktop.layers, 'minimal.standard.live.custom'],
      starts: [top('minimal.standard.live.custom')],
    },
    [...chainsOf('usual'), 'minimal < minimal.standard < minimal.standard.live < minimal.standard.live.custom (live)'],
    desktopIds,
  ],
  'a medium whose live session is the installed system': [
    { ...desktop, ...withCatalogue, starts: [top('minimal.standard')] },
    chainsOf('minimal < minimal.standard'),
    desktopIds,
  ],
  'two kernels with a live session each': [
    {
      folder: 'casper',
      layers: ['base', 'base.one', 'base.two', 'base.one.a'],
      starts: [top('base.one'), top('base.two')],
    },
    ['base', 'base < base.one (live)', 'base < base.two (live)', 'base < base.one < base.one.a'],
    ['*filesystem base.one'],
  ],
  'a name that is no layer, and starts that nobody knows': [
    { ...desktop, ...withCatalogue, starts: [top('gone'), start({})] },
    chainsOf('usual'),
    desktopIds,
  ],
  'all layers, where names make chains': [
    { ...desktop, ...withCatalogue, starts: [top(null)] },
    chainsOf('usual'),
    desktopIds,
  ],
  'all layers, beside a catalogue': [
    {
      folder: 'casper',
      layers: ['filesystem', 'theme'],
      texts: { 'casper/install-sources.yaml': source('only', 'filesystem') },
      starts: [top(null)],
    },
    ['filesystem', 'filesystem < theme (live)'],
    ['*only filesystem'],
  ],
  'one of two layers': [
    { folder: 'casper', layers: ['filesystem', 'other'], starts: [top('filesystem')] },
    ['filesystem (live)', 'other'],
    ['*filesystem filesystem'],
  ],
  'live-boot with `module=` in each entry': [
    {
      folder: 'live',
      layers: ['core', 'desktop', 'extra'],
      texts: {
        'live/filesystem.big.module': 'core.squashfs desktop.squashfs\r\n',
        'live/tiny.module': 'core.squashfs\n',
      },
      starts: [start({ module: 'big' }), start({ module: 'tiny' })],
    },
    ['core < desktop (live)', 'core (live)'],
    ['*filesystem desktop'],
  ],
  'live-boot with `module=` of a list that is not there': [
    { folder: 'live', layers: ['core', 'desktop'], starts: [start({ module: 'gone' })] },
    ['core < desktop (live)'],
    ['*filesystem desktop'],
  ],
  Grml: [
    {
      folder: 'live/grml64-full',
      layers: ['grml64-full'],
      texts: { 'live/grml64-full/filesystem.module': 'grml64-full.squashfs\n' },
      starts: [start({ program: 'live-boot', folder: 'live/grml64-full' }), start({ program: 'live-boot' })],
    },
    ['grml64-full (live)'],
    ['*filesystem grml64-full'],
  ],
};

for (const [what, [layout, views, sources]] of Object.entries({ ...layouts, ...started })) {
  test(`layers of ${what}`, () => {
    const medium = recogniseMedium(filesOf(layout));
    assert.equal(viewsOf(medium).toSorted(), views.toSorted());
    const named = medium.sources.map(
      (one) => `${one === medium.defaultSource ? '*' : ''}${one.id} ${short([one.layer])[0]}`,
    );
    assert.equal(named, sources);
  });
}

test('a change of a source goes into its layer, and is repeated in all layers above it, each after those it stands on', () => {
  const [layout] = layouts['Ubuntu 24.04 and 26.04 desktop'] ?? assert.unreachable() ?? [];
  const medium = recogniseMedium(filesOf(layout as Layout));
  const { layer, below, above } = chooseLayers(medium, 'ubuntu-desktop');
  assert.equal([short([layer]), short(below)], [['minimal.standard'], ['minimal']]);
  assert.equal(above.map((one) => [...short(one.below), ...short([one.layer])].join(' < ')).toSorted(), [
    'minimal < minimal.standard < minimal.standard.de',
    'minimal < minimal.standard < minimal.standard.live',
  ]);
  const lowest = chooseLayers(medium, null);
  assert.is(lowest.source.id, 'ubuntu-desktop-minimal');
  assert.is(lowest.above.length, 6);
  const order = lowest.above.map((one) => one.layer);
  for (const one of lowest.above) {
    for (const lower of one.below.slice(1)) assert.ok(order.indexOf(lower) < order.indexOf(one.layer));
  }
});

const codeOf = (run: () => unknown): string => {
  try {
    run();
    return 'nothing';
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    return `${(error as ImageBuilderError).code}: ${(error as ImageBuilderError).message}`;
  }
};

test('an unknown source is refused with the ids that there are', () => {
  const [layout] = layouts['Ubuntu 22.04 and 24.04 server'] ?? [];
  const medium = recogniseMedium(filesOf(layout as Layout));
  const refusal = codeOf(() => chooseLayers(medium, 'desktop'));
  assert.is(
    refusal,
    'request.invalid: the medium has no source "desktop"; it has "ubuntu-server", "ubuntu-server-minimal"',
  );
});

const refused: Readonly<Record<string, readonly [paths: readonly string[], RegExp, folders?: readonly string[]]>> = {
  'Debian netinst': [['dists/bookworm/Release', 'pool/main/x.deb', 'install.amd/initrd.gz'], /installs from packages/],
  'a mini.iso': [['linux', 'initrd.gz', 'isolinux.bin'], /installs over the network/],
  Fedora: [['LiveOS/squashfs.img', 'images/pxeboot/vmlinuz'], /Fedora/],
  'Arch Linux': [['arch/x86_64/airootfs.sfs'], /Arch Linux/],
  'a rescue medium': [['boot/grub/grub.cfg'], /no layers .*; live media of Ubuntu/],
  'layers of two folders': [
    ['live/a/x.squashfs', 'live/b/x.squashfs'],
    /layers for live-boot \(\/live\/a\) and for live-boot \(\/live\/b\), and nothing says which/,
    ['live/a', 'live/b'],
  ],
  'layers of two families': [['casper/filesystem.squashfs', 'live/filesystem.squashfs'], /nothing says which/],
};

for (const [what, [paths, expected, folders = []]] of Object.entries(refused)) {
  test(`refused with the reason: ${what}`, () => {
    const starts = folders.map((folder) => start({ program: 'live-boot', folder }));
    const refusal = codeOf(() => recogniseMedium({ paths, readText: () => '', starts }));
    assert.match(refusal, /^image\.unsupported: the medium cannot be changed: /);
    assert.match(refusal, expected);
  });
}

test('catalogues and lists that name what is not there are refused', () => {
  const only = (name: string, text: string, folder: 'casper' | 'live' = 'casper') =>
    codeOf(() => recogniseMedium(filesOf({ folder, layers: ['minimal'], texts: { [`${folder}/${name}`]: text } })));
  const catalogue = 'install-sources.yaml';
  assert.match(only(catalogue, source('x', '../../etc/passwd')), /^image\.corrupt: .*no layer in \/casper/);
  assert.match(
    only(catalogue, '- id: [}'),
    /^image\.corrupt: install-sources\.yaml of the medium has faults: line 1, column 8: /,
  );
  assert.match(only(catalogue, '- path: 7'), /^image\.corrupt: install-sources\.yaml/);
  assert.match(only(catalogue, 'a: *nothing\n'), /^image\.corrupt: install-sources\.yaml/);
  assert.match(only(catalogue, ' '.repeat(100_000)), /^image\.too_large/);
  assert.match(only('filesystem.module', 'absent.squashfs\n', 'live'), /^image\.corrupt: .*no layer in \/live/);
  assert.match(only('filesystem.module', 'minimal.squashfs\nminimal.squashfs\n', 'live'), /^image\.corrupt: .*no list/);
  assert.match(only('filesystem.module', '\n', 'live'), /^image\.corrupt: .*no list/);
});

test.run();
