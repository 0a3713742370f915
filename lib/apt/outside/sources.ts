import { ImageBuilderError, safeUrl } from '../../errors.ts';
import { isInImage, isOnDisc, leftOutDisc, schemeOf, withoutWay } from '../source-scheme.ts';
import { mirrorListPath } from './mirrors.ts';
import { parseDeb822, parseOneLine, type SourceFields } from './source-format.ts';
import type { StateFile } from './state.ts';

/**
 * An image's sources for the worker's own apt, which runs with the worker's files and network around it, so only known
 * types and fields get through. Package lists are fetched by http and https alone, and from mirrors that are, so that
 * nothing of the worker is read.
 */
export interface OutsideSource {
  /** Path in the image of the file that has it. */
  readonly file: string;
  /** By http and https, or `mirror+file:/…` with a list of mirrors in the image. */
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
const yes = /^(yes|true|on|with|enable|1)$/i;
const no = /^(no|false|off|without|disable|0)$/i;

/**
 * Reads the source files of an image. Throws `apt.repository` for a source that cannot be used from outside the image,
 * such as one in the image itself, or one with wrong syntax. A source on a disc is left out, with a warning.
 */
export function readOutsideSources(
  files: readonly StateFile[],
  onWarning: (message: string) => void = () => {},
): OutsideSource[] {
  const sources = files.flatMap((file) =>
    readSourceFields(file).flatMap((fields) => checkSource(withoutDiscs(fields, onWarning), file.path)),
  );
  assertFew(sources);
  return sources;
}

/** Each becomes a file for the worker's apt; images have a handful. */
const maximumSources = 1000;

/** Throws `apt.repository` for more sources than an image can need. */
export function assertFew(sources: readonly unknown[]): void {
  if (sources.length <= maximumSources) return;
  throw new ImageBuilderError(
    'apt.repository',
    `the image has ${sources.length} sources of its own; at most ${maximumSources} are read from outside it`,
  );
}

/** The sources of packages in a file, as it gives them: not checked. Throws `apt.repository` for wrong syntax. */
export function readSourceFields({ name, path, content }: StateFile): SourceFields[] {
  assertUnmarked(path, content);
  const text = content.toString('utf8').replaceAll('\r', '');
  return (name.endsWith('.sources') ? parseDeb822(text, path) : parseOneLine(text, path)).filter(isWanted);
}

/** Editors of other systems put such a mark before the text: UTF-8, UTF-16 of either order. */
const marks = ['efbbbf', 'fffe', 'feff'].map((hex) => Buffer.from(hex, 'hex'));

/** Throws `apt.repository` for a file that apt would not read because of the mark at its beginning. */
function assertUnmarked(path: string, content: Buffer): void {
  if (!marks.some((mark) => content.subarray(0, mark.length).equals(mark))) return;
  throw new ImageBuilderError(
    'apt.repository',
    `${path} in the base image begins with a byte order mark, and apt reads no such file; save it there as UTF-8 without one, or take it out`,
  );
}

function isWanted(fields: SourceFields): boolean {
  return split(fields.get('types')).includes('deb') && !no.test(fields.get('enabled') ?? 'yes');
}

function withoutDiscs(fields: SourceFields, onWarning: (message: string) => void): SourceFields {
  const uris = (fields.get('uris') ?? '').trim();
  const kept = withoutDisc(uris);
  if (kept.length === split(uris).length) return fields;
  onWarning(leftOutDisc(printable(uris)));
  return new Map([...fields, ['uris', kept.join(' ')], ['disc', '']]);
}

/** The source, if its URIs leave one. */
function checkSource(fields: SourceFields, file: string): OutsideSource[] {
  const refuse = (what: string) => new ImageBuilderError('apt.repository', `the image's own source in ${file} ${what}`);
  const uris = split(fields.get('uris'));
  if (uris.length === 0 && fields.has('disc')) return [];
  for (const uri of uris) {
    const scheme = schemeOf(uri);
    if (mirrorListPath(uri) !== null) continue;
    if (isInImage(scheme)) {
      throw refuse(
        `is a folder of the image itself (${printable(uri)}): packages are fetched from outside the image, by http and https only. Serve it by these or as a PPA, take it out of the base image, or, in the vm guest, let its apt reach the network itself (IMAGEBUILDER_VM_NETWORK)`,
      );
    }
    if (!/^(https?|mirror|mirror\+https?)$/.test(scheme)) throw refuse(withoutWay(printable(scheme)));
    if (!/^[a-z+]+:\/\/[!#-;=?-Z_a-z~[\]@]+$/.test(uri) || !URL.canParse(uri.replace(/^mirror(\+http)?:/, 'http:'))) {
      throw refuse(`has an address that is none: ${printable(safeUrl(uri))}`);
    }
  }
  const suites = split(fields.get('suites'));
  const components = split(fields.get('components'));
  const named = [...suites, ...components];
  if (uris.length === 0 || suites.length === 0 || !named.every((name) => /^[A-Za-z0-9._~+$()/:-]+$/.test(name))) {
    throw refuse('is not written as apt wants it; mend it in the base image, or take it out');
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
  const trusted = fields.get('trusted') ?? '';
  if (no.test(trusted)) kept.set('Trusted', 'no');
  // The base image vouches for such a repository, as it does with the image's own apt. The result has a warning.
  else if (yes.test(trusted)) kept.set('Trusted', 'yes');
  const signedBy = fields.get('signed-by');
  const keys = signedBy === undefined ? null : readSignedBy(signedBy);
  return [{ file, uris, suites, components, fields: kept, signedBy: keys }];

  function readSignedBy(value: string): SignedBy {
    const signedBy = splitSignedBy(value);
    if (!signedBy.armor.every((line) => /^[ -~]*$/.test(line))) throw refuse('holds a key that is none');
    const valid = (path: string) => /^\/[A-Za-z0-9._+:~@/-]{1,1000}$/.test(path);
    const { paths, fingerprints } = signedBy;
    if (!paths.every(valid) || !fingerprints.every((entry) => /^[0-9A-Fa-f]{8,40}!?$/.test(entry))) {
      throw refuse('names a key in a way that apt would not take');
    }
    return signedBy;
  }
}

/** The parts of a value of Signed-By, not checked. */
export function splitSignedBy(value: string): SignedBy {
  if (value.includes('-----BEGIN')) {
    const armor = value.split('\n').filter((line, index) => index > 0 || line !== '');
    return { paths: [], fingerprints: [], armor };
  }
  const entries = split(value.replaceAll(',', ' '));
  const isPath = (entry: string) => entry.startsWith('/');
  return { paths: entries.filter(isPath), fingerprints: entries.filter((entry) => !isPath(entry)), armor: [] };
}

/**
 * One source as a deb822 stanza. `keyring` returns the path on the worker of the copy of an image's keyring, `mirrors`
 * that of a list of mirrors.
 */
export function renderOutsideSource(
  source: OutsideSource,
  keyring: (path: string) => string,
  mirrors: (path: string) => string,
): string {
  const { uris, suites, components, fields, signedBy } = source;
  const local = (uri: string) => {
    const path = mirrorListPath(uri);
    return path === null ? uri : `mirror+file:${mirrors(path)}`;
  };
  const lines: string[] = [
    'Types: deb',
    `URIs: ${uris.map(local).join(' ')}`,
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

/** The URIs of a source that are on no disc. The name of a disc holds blanks: `cdrom:[Debian 12]/`. */
export function withoutDisc(uris: string | undefined): string[] {
  return uris?.startsWith('cdrom:[') ? [] : split(uris).filter((uri) => !isOnDisc(uri));
}

/** The words of a value. */
export function split(value: string | undefined): string[] {
  return (value ?? '').split(/\s+/).filter((word) => word !== '');
}

function printable(text: string): string {
  return text.replace(/[^ -~]+/g, '?').slice(0, 200);
}
