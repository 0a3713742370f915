import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import type { BuiltImage } from './guest-builds.ts';
import { assertPackages, buildDefinitionOf } from './provenance.ts';

/** The documents beside an image, by their roles. */
export async function documentsOf({ artifacts }: BuiltImage): Promise<ReadonlyMap<string, string>> {
  const read = async ({ role, location }: BuiltImage['artifacts'][number]) =>
    [role, await readFile(fileURLToPath(location), 'utf8')] as const;
  return new Map(await Promise.all(artifacts.map(read)));
}

/** The results and the documents of two builds of the same image are the same, but for what names the builds. */
export async function assertSameDocuments(one: BuiltImage, other: BuiltImage, ppaUrl: string): Promise<void> {
  const { image } = one;
  assert.equal(
    [image.packages, image.removed, image.warnings],
    [other.image.packages, other.image.removed, other.image.warnings],
  );
  const [documents, others] = [await documentsOf(one), await documentsOf(other)];
  for (const role of ['manifest', 'changes']) assert.is(documents.get(role), others.get(role), role);
  const packagesOf = async (found: ReadonlyMap<string, string>) =>
    await assertPackages(buildDefinitionOf(found.get('provenance') ?? '').resolvedDependencies, ppaUrl);
  assert.equal(await packagesOf(documents), await packagesOf(others));
}
