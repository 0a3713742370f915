import { ImageBuilderError, safeUrl } from '../../errors.ts';
import { parseDeb822, parseOneLine, type SourceFields } from './source-format.ts';
import type { StateFile } from './state.ts';

/**
 * An image's sources for the worker's own apt, which runs with the worker's files and network around it, so only known
 * types and fields get through. Package lists are fetched by http and https alone, so that nothing of the worker is
 * read, and signatures are always demanded.
 */
export interface OutsideSource {
  readonly uris: readonly string[];
  readonly suites: readonly string[];
  readonly components: readonly string[];
  /** deb822 fields that change which files are fetched or trusted, checked. */
  readonly fields: ReadonlyMap<string, string>;
  readonly signedBy: SignedBy | null;
}

export interface SignedBy {
  /** Absolute paths of keyrings inside the image. */
  readonly paths: readonly string[];
  readonly fingerprints: readonly string[];
  /** Lines of a key in ASCII armour, written in the source itself. */
  readonly armor: readonly string[];
}

/** Fields that are passed on, as apt names them, with the form that their values must have. */
const words = /^[A-Za-z0-9 ,.:_~+-]*$/;
const passed: readonly (readonly [string, RegExp])[] = [
  ['Architectures', words],
  ['Architectures-Add', words],
  ['Architectures-Remove', words],
  ['By-Hash', words],
  ['Check-Valid-Until', words],
  ['Valid-Until-Min', words],
  ['Valid-Until-Max', words],
  ['Check-Date', words],
  ['Date-Max-Future', words],
  ['InRelease-Path', /^[A-Za-z0-9._~+/-]*$/],
];
/** Fields that change the meaning of a source and are not supported here. */
const unsupported = ['Snapshot', 'Include', 'Exclude'];
const no = /^(no|false|off|without|disable|0)$/i;

/**
 * Reads the source files of an image. Throws `apt.repository` for a source that cannot be used from outside the image,
 * such as one in the image itself, or one with wrong syntax.
 */
export function readOutsideSources(files: readonly StateFile[]): OutsideSource[] {
  const sources = files.flatMap(({ name, content }) => {
    const text = content.toString('utf8').replaceAll('\r', '');
    const found = name.endsWith('.sources') ? parseDeb822(text, name) : parseOneLine(text, name);
    return found.filter(isWanted).map((fields) => checkSource(fields, name));
  });
  if (sources.length <= maximumSources) return sources;
  throw new ImageBuilderError(
    'apt.repository',
    `the image has ${sources.length} sources of its own; at most ${maximumSources} are read from outside it`,
  );
}

/** Each becomes a file for the worker's apt; images have a handful. */
const maximumSources = 1000;

function isWanted(fields: SourceFields): boolean {
  return split(fields.get('types')).includes('deb') && !no.test(fields.get('enabled') ?? 'yes');
}

function checkSource(fields: SourceFields, file: string): OutsideSource {
  const refuse = (what: string) => new ImageBuilderError('apt.repository', `the image's own source in ${file} ${what}`);
  const uris = split(fields.get('uris'));
  for (const uri of uris) {
    const scheme = /^([A-Za-z0-9+.-]+):/.exec(uri)?.[1] ?? '';
    if (!/^https?$/.test(scheme)) {
      throw refuse(
        `is read with "${printable(scheme)}": outside the image, only http and https can be. Take it out of the base image, or let its apt reach the network itself (IMAGEBUILDER_VM_NETWORK)`,
      );
    }
    if (!/^https?:\/\/[!#-;=?-Z_a-z~[\]@]+$/.test(uri) || !URL.canParse(uri)) {
      throw refuse(`has an address that is none: ${printable(safeUrl(uri))}`);
    }
  }
  const suites = split(fields.get('suites'));
  const components = split(fields.get('components'));
  const named = [...suites, ...components];
  if (uris.length === 0 || suites.length === 0 || !named.every((name) => /^[A-Za-z0-9._~+$()/:-]+$/.test(name))) {
    throw refuse('is not written as apt wants it');
  }
  for (const field of unsupported) {
    const value = fields.get(field.toLowerCase());
    if (value !== undefined && !no.test(value)) {
      throw refuse(`uses "${field}", which can be honoured only inside the image (IMAGEBUILDER_VM_NETWORK)`);
    }
  }
  const kept = new Map<string, string>();
  for (const [field, pattern] of passed) {
    const value = fields.get(field.toLowerCase());
    if (value === undefined) continue;
    if (!pattern.test(value)) throw refuse(`has a value of "${field}" that apt would not take`);
    kept.set(field, value);
  }
  // A source that asks not to be trusted is not trusted. One that asks to be trusted without a signature is ignored in
  // that.
  if (no.test(fields.get('trusted') ?? '')) kept.set('Trusted', 'no');
  const signedBy = fields.get('signed-by');
  return { uris, suites, components, fields: kept, signedBy: signedBy === undefined ? null : readSignedBy(signedBy) };

  function readSignedBy(value: string): SignedBy {
    if (value.includes('-----BEGIN')) {
      const armor = value.split('\n').filter((line, index) => index > 0 || line !== '');
      if (!armor.every((line) => /^[ -~]*$/.test(line))) throw refuse('holds a key that is none');
      return { paths: [], fingerprints: [], armor };
    }
    const entries = split(value.replaceAll(',', ' '));
    const paths = entries.filter((entry) => entry.startsWith('/'));
    const fingerprints = entries.filter((entry) => !entry.startsWith('/'));
    const valid = (path: string) => /^\/[A-Za-z0-9._+:~@/-]{1,1000}$/.test(path);
    if (!paths.every(valid) || !fingerprints.every((entry) => /^[0-9A-Fa-f]{8,40}!?$/.test(entry))) {
      throw refuse('names a key in a way that apt would not take');
    }
    return { paths, fingerprints, armor: [] };
  }
}

/** One source as a deb822 stanza. `keyring` returns the path on the worker of the copy of an image's keyring. */
export function renderOutsideSource(source: OutsideSource, keyring: (path: string) => string): string {
  const { uris, suites, components, fields, signedBy } = source;
  const lines: string[] = [
    'Types: deb',
    `URIs: ${uris.join(' ')}`,
    `Suites: ${suites.join(' ')}`,
    ...(components.length === 0 ? [] : [`Components: ${components.join(' ')}`]),
    ...[...fields].map(([name, value]) => `${name}: ${value}`),
  ];
  if (signedBy !== null && signedBy.armor.length > 0) {
    lines.push('Signed-By:', signedBy.armor.map((line) => ` ${line.trim() === '' ? '.' : line}`).join('\n'));
  } else if (signedBy !== null) {
    lines.push(`Signed-By: ${[...signedBy.paths.map(keyring), ...signedBy.fingerprints].join(' ')}`);
  }
  return `${lines.join('\n')}\n`;
}

function split(value: string | undefined): string[] {
  return (value ?? '').split(/\s+/).filter((word) => word !== '');
}

function printable(text: string): string {
  return text.replace(/[^ -~]+/g, '?').slice(0, 200);
}
