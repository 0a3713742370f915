import { basename } from 'node:path';
import { ImageBuilderError } from '../../errors.ts';
import { ExecError } from '../../exec.ts';
import type { ScriptRunner } from '../../guest/guest.ts';
import type { ImageFacts } from '../facts.ts';
import { parseMessages } from '../message.ts';
import { compareVersions } from '../version.ts';
import { placeOf } from './places.ts';
import { type ImageRecord, readRecords } from './records.ts';

/** The state of an image's apt: everything that decides which packages it would install, and from where. */
export interface AptState {
  /** Lines of `apt-config dump`. */
  readonly configuration: readonly string[];
  /** dpkg's database. */
  readonly status: Buffer;
  /** Which packages were installed automatically; empty where apt never noted any. */
  readonly extendedStates: Buffer;
  /** sources.list first, then the parts in the order in which apt reads them. */
  readonly sources: readonly StateFile[];
  /** The same for pins, trusted keys, and names and passwords for servers. */
  readonly preferences: readonly StateFile[];
  readonly trusted: readonly StateFile[];
  readonly credentials: readonly StateFile[];
  /** Certificate authorities that the image's TLS trusts, in PEM; empty where it has none. */
  readonly certificates: Buffer;
}

export interface StateFile {
  /** Without its folder. Letters, digits, `.`, `_`, `:` and `-`. */
  readonly name: string;
  /** In the image. */
  readonly path: string;
  readonly content: Buffer;
}

/**
 * Reads the state of an opened image. Throws `apt.repository` where its apt cannot read its own configuration,
 * `image.too_large`, `guest.failed`, and as `runner.run` does.
 */
export async function readAptState(inside: ScriptRunner, facts: Pick<ImageFacts, 'aptVersion'>): Promise<AptState> {
  const records = await readRecords(inside, 'state').catch((error: unknown) =>
    Promise.reject(configurationError(error)),
  );
  return stateOf(records, facts.aptVersion);
}

/** `apt.repository` where apt-config has said why it ended; any other error as it is. */
function configurationError(error: unknown): unknown {
  if (!(error instanceof ExecError) || error.exitCode === undefined || error.timedOut) return error;
  const said = new Set(parseMessages(error.logTail).flatMap(({ level, text }) => (level === 'error' ? [text] : [])));
  if (said.size === 0) return error;
  return new ImageBuilderError(
    'apt.repository',
    `the configuration of apt in the base image cannot be read: ${[...said].join('; ')}`,
    { cause: error, logTail: error.logTail },
  );
}

/** Records that are read as text here; the others are passed on unread. */
const textKinds: ReadonlySet<string> = new Set([
  'configuration',
  'source',
  'source-part',
  'preferences',
  'preferences-part',
]);
const MiB = 2 ** 20;
/** Of all text together. Images have some ten KiB. */
const maximumTextBytes = 4 * MiB;

function assertShort(records: readonly ImageRecord[]): void {
  const sizeBytes = records.reduce((sum, { content }) => sum + content.length, 0);
  if (sizeBytes <= maximumTextBytes) return;
  throw new ImageBuilderError(
    'image.too_large',
    `apt's configuration, sources and pins in the base image are ${sizeBytes} bytes; at most ${maximumTextBytes} are read`,
  );
}

/**
 * Sorts records by kind. Leaves out files that the image's apt would not read, because of their names or because its
 * version is too old for them (apt's changelog): `.sources` since 1.1, `.asc` keys since 1.4, auth.conf.d since 1.5.
 */
export function stateOf(records: readonly ImageRecord[], aptVersion: string): AptState {
  const has = (version: string) => compareVersions(aptVersion, version) >= 0;
  assertShort(records.filter(({ kind }) => textKinds.has(kind)));
  const content = (kind: string) => records.find((record) => record.kind === kind)?.content ?? Buffer.alloc(0);
  const configuration = content('configuration').toString('utf8').split('\n');
  const files = (kind: string, key: string, parts: RegExp | null): StateFile[] => {
    const main = placeOf(configuration, `Dir::Etc::${key}`);
    const folder = placeOf(configuration, `Dir::Etc::${key === 'sourcelist' ? 'source' : key}parts`);
    const whole = records.filter((record) => record.kind === kind).slice(0, 1);
    const found = records.filter(
      ({ kind: other, name }) => other === `${kind}-part` && !name.startsWith('.') && parts?.test(name) === true,
    );
    const sorted = [...found].sort((a, b) => (a.name < b.name ? -1 : 1));
    return [
      ...whole.map((record) => ({ name: basename(main), path: main, content: record.content })),
      ...sorted.map(({ name, content }) => ({ name, path: `${folder}/${name}`, content })),
    ];
  };
  return {
    configuration,
    status: content('status'),
    extendedStates: content('extended-states'),
    sources: files('source', 'sourcelist', has('1.1~') ? /\.(list|sources)$/ : /\.list$/),
    preferences: files('preferences', 'preferences', /^[^.]+$|\.pref$/),
    trusted: files('trusted', 'trusted', has('1.4~') ? /\.(gpg|asc)$/ : /\.gpg$/),
    credentials: files('netrc', 'netrc', has('1.5~') ? /^[^.]+$|\.conf$/ : null),
    certificates: content('certificates'),
  };
}
