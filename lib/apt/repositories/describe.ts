import { createHash } from 'node:crypto';
import { safeUrl } from '../../errors.ts';
import type { GpgvOptions } from '../../gpgv.ts';
import { withoutSlash } from '../downloads.ts';
import {
  knownUri,
  listKey,
  maximumRepositories,
  type NamedRepository,
  readNamedRepositories,
  releaseUrl,
} from './named.ts';
import { parseReleaseFields } from './release-fields.ts';
import type { Repositories, Repository, RepositoryFiles } from './repository.ts';
import { findSigners } from './signers.ts';

/**
 * Describes the repositories of an image by the files that apt has used. `architecture` is the image's own. Throws
 * `apt.repository` where its sources cannot be read, and the reason of the signal.
 */
export async function describeRepositories(
  files: RepositoryFiles,
  architecture: string,
  options: GpgvOptions,
): Promise<Repositories> {
  const all = readNamedRepositories(files.sources, architecture);
  const named = all.slice(0, maximumRepositories);
  const lists = Map.groupBy(files.releases.keys(), listKey);
  const keyOf = (repository: NamedRepository) =>
    listKey(releaseUrl({ ...repository, uri: knownUri(repository.uri, files.mirrors) }, ''));
  const owners = Map.groupBy(named, keyOf);
  const repositories: Repository[] = [];
  const endMs = performance.now() + maximumMs;
  for (const repository of named) {
    const key = keyOf(repository);
    const isAlone = owners.get(key)?.length === 1;
    const find = (name: string): string | undefined => {
      const names = lists.get(`${key}_${name}`) ?? [];
      return isAlone && names.length === 1 ? names[0] : undefined;
    };
    if (performance.now() > endMs) break;
    repositories.push(await describe(repository, find, files, options));
  }
  const isAll = repositories.length === all.length;
  return { repositories, notKnown: isAll ? null : `repositories beyond the first ${repositories.length}` };
}

/** A signature takes some 20 ms; a hostile one may take longer. */
const maximumMs = 60_000;

async function describe(
  repository: NamedRepository,
  find: (name: string) => string | undefined,
  files: RepositoryFiles,
  options: GpgvOptions,
): Promise<Repository> {
  const { uri, suite, signedBy } = repository;
  const known = { uri: withoutSlash(safeUrl(uri)), suite };
  const content = (name: string) => files.releases.get(find(name) ?? '');
  const message = content('InRelease');
  const release = message ?? content('Release');
  if (release === undefined) {
    return { ...known, file: null, signers: [], notKnown: ['a Release file: apt has none that is clearly its own'] };
  }
  const isMessage = message !== undefined;
  const signature = isMessage ? null : (content('Release.gpg') ?? null);
  const signed = { content: release, signature, isMessage };
  const { signers, text, notKnown } = await findSigners(signed, signedBy, files, options);
  const fields = parseReleaseFields(text);
  const url = safeUrl(releaseUrl(repository, isMessage ? 'InRelease' : 'Release'));
  const sha256 = createHash('sha256').update(release).digest('hex');
  const date = fields.date === null ? ['the date: the Release file has none that apt would take'] : [];
  return {
    ...{ ...known, signers, file: { url, sha256, ...fields } },
    notKnown: [...(notKnown === null ? [] : [notKnown]), ...date],
  };
}
