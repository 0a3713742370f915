import type { ScriptRunner } from '../../guest/guest.ts';
import type { ImageFacts } from '../facts.ts';
import { readFiles, readRecords } from '../outside/records.ts';
import { readSourceFields, splitSignedBy } from '../outside/sources.ts';
import { stateOf } from '../outside/state.ts';
import { maximumReleaseBytes, maximumReleaseFiles, type RepositoryFiles } from './repository.ts';

/** Reads the files of the image's own apt. Throws `apt.repository` for wrong syntax, and as `readRecords` does. */
export async function readRepositoriesInside(
  inside: ScriptRunner,
  { aptVersion }: Pick<ImageFacts, 'aptVersion'>,
): Promise<RepositoryFiles> {
  const records = await readRecords(inside, 'repositories');
  const { sources, trusted } = stateOf(records, aptVersion);
  const named = sources
    .flatMap(readSourceFields)
    .flatMap((fields) => splitSignedBy(fields.get('signed-by') ?? '').paths);
  const keyrings = await readFiles(
    inside,
    named.filter((path) => /^\/[!-~]{1,1000}$/.test(path)).slice(0, maximumKeyrings),
  );
  const releases = records
    .filter(({ kind, content }) => kind === 'release' && content.length <= maximumReleaseBytes)
    .slice(0, maximumReleaseFiles)
    .map(({ name, content }) => [name, content] as const);
  return { ...{ sources, trusted, keyrings }, releases: new Map(releases), mirrors: new Map() };
}

const maximumKeyrings = 1_000;
