import { ImageBuilderError, safeUrl } from '../../errors.ts';
import { withoutSlash } from '../downloads.ts';
import { mirrorListPath } from '../outside/mirrors.ts';
import { assertFew, readSourceFields, type SignedBy, split, splitSignedBy, withoutDisc } from '../outside/sources.ts';
import type { StateFile } from '../outside/state.ts';

/** A repository as a source of an image names it. */
export interface NamedRepository {
  /** With credentials, where it has some. */
  readonly uri: string;
  readonly suite: string;
  /** Null where every trusted key of the image may sign it. */
  readonly signedBy: SignedBy | null;
}

/** Images have a handful. */
export const maximumRepositories = 100;

/**
 * The repositories that sources name, each once, without discs; at most one more than `maximumRepositories`. Throws
 * `apt.repository` for wrong syntax, and for more sources, or longer words in them, than an image can need.
 */
export function readNamedRepositories(sources: readonly StateFile[], architecture: string): NamedRepository[] {
  const found = new Map<string, NamedRepository>();
  const named = (text: string | undefined) =>
    [...new Set(split(text))].map((word) => word.replaceAll('$(ARCH)', architecture));
  const all = sources.flatMap(readSourceFields);
  assertFew(all);
  for (const fields of all) {
    const value = fields.get('signed-by') ?? '';
    const signedBy = value === '' ? null : splitSignedBy(value);
    for (const uri of named(withoutDisc(fields.get('uris')).join(' '))) {
      for (const suite of named(fields.get('suites'))) {
        assertShort(uri, suite);
        const key = `${URL.canParse(uri) ? withoutSlash(safeUrl(uri)) : uri} ${suite}`;
        const known = found.get(key);
        // Of a source that stands twice, apt takes the keys from where they are named.
        if (known === undefined || known.signedBy === null) found.set(key, { uri, suite, signedBy });
        if (found.size > maximumRepositories) return [...found.values()];
      }
    }
  }
  return [...found.values()];
}

/** apt names files after both, and names of files have 255 characters. */
const maximumCharacters = 1_000;

function assertShort(...words: readonly string[]): void {
  if (words.every(({ length }) => length <= maximumCharacters)) return;
  throw new ImageBuilderError(
    'apt.repository',
    `a source of the image has words beyond ${maximumCharacters} characters`,
  );
}

/** The URL of a file of a repository beside its Release file. */
export function releaseUrl({ uri, suite }: Pick<NamedRepository, 'uri' | 'suite'>, file: string): string {
  const folder = uri.endsWith('/') ? uri : `${uri}/`;
  return suite.endsWith('/') ? `${folder}${suite}${file}` : `${folder}dists/${suite}/${file}`;
}

/** The URI by which apt knows a source: it may read a list of mirrors from another place than the image says. */
export function knownUri(uri: string, mirrors: ReadonlyMap<string, string>): string {
  const copy = mirrors.get(mirrorListPath(uri) ?? '');
  return copy === undefined ? uri : `file:${copy}`;
}

/**
 * Equal for a URL and the name of apt's file for it, and for URLs that are the same to apt: without scheme, credentials
 * and quoting, in which releases of apt differ.
 */
export function listKey(urlOrName: string): string {
  const bare = urlOrName.replace(/^[A-Za-z][A-Za-z0-9+.-]{0,40}:(?=\/)/, '');
  const server = /^\/\/[^/]*/.exec(bare)?.[0] ?? '';
  const rest = `${server.slice(server.lastIndexOf('@') + 1)}${bare.slice(server.length)}`;
  let text = rest;
  // Some releases quote what is quoted already.
  for (let round = 0; round < 2; round += 1) {
    text = text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  }
  const key = text.replace(/[/_]+/g, '_');
  return key.slice(key.startsWith('_') ? 1 : 0, key.endsWith('_') ? -1 : undefined);
}
