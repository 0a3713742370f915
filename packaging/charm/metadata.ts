import { stringify } from 'yaml';
import type { Charmcraft } from './charmcraft.ts';

/** Times and versions that stand in manifest.yaml. */
export interface Packing {
  /** Of the program, as in package.json. */
  readonly version: string;
  /** In seconds since 1970. */
  readonly seconds: number;
  /** Of Debian, such as `amd64`. */
  readonly architecture: string;
}

/** The files that Juju reads, by their names, as charmcraft generates them from charmcraft.yaml. */
export function generatedFiles(charmcraft: Charmcraft, packing: Packing): ReadonlyMap<string, string> {
  const { config, actions } = charmcraft;
  const files: [string, object | undefined][] = [
    ['metadata.yaml', metadata(charmcraft)],
    ['config.yaml', config],
    ['actions.yaml', actions],
    ['manifest.yaml', manifest(charmcraft, packing)],
  ];
  return new Map(
    files.flatMap(([name, value]) =>
      // charmcraft's library sorts the keys.
      value === undefined ? [] : [[name, stringify(value, { sortMapEntries: true, lineWidth: 0 })] as const],
    ),
  );
}

/** Keys of charmcraft.yaml that metadata.yaml has as they are. */
const sameKeys = [
  'name',
  'summary',
  'description',
  'assumes',
  'provides',
  'requires',
  'peers',
  'extra-bindings',
  'storage',
  'resources',
] as const;

function metadata(charmcraft: Charmcraft): object {
  const { contact, documentation, ...links } = charmcraft.links ?? {};
  return withoutUndefined({
    ...Object.fromEntries(sameKeys.map((key) => [key, charmcraft[key]])),
    'display-name': charmcraft.title,
    maintainers: contact,
    docs: documentation,
    ...links,
  });
}

/** charmcraft knows the language of charms in Python, and two frameworks of theirs. */
const attributes = [
  { name: 'language', result: 'unknown' },
  { name: 'framework', result: 'unknown' },
];

function manifest({ base }: Charmcraft, { version, seconds, architecture }: Packing): object {
  const [name = '', channel = ''] = base.split('@');
  return {
    'charmcraft-version': `none: npm run charm, ${version}`,
    'charmcraft-started-at': new Date(seconds * 1000).toISOString(),
    analysis: { attributes },
    bases: [{ name, channel, architectures: [architecture] }],
  };
}

function withoutUndefined(record: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));
}
