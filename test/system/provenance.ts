import { createHash } from 'node:crypto';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import type { Material } from '#lib/provenance/statement.ts';

const Envelope = z.object({ payload: z.base64() });
const Statement = z.object({
  predicate: z.object({
    buildDefinition: z.object({
      externalParameters: z.record(z.string(), z.unknown()),
      internalParameters: z.record(z.string(), z.unknown()),
      resolvedDependencies: z.array(z.custom<Material>()),
    }),
  }),
});

/** The definition of the build in a signed statement of provenance. */
export function buildDefinitionOf(envelope: string) {
  const { payload } = Envelope.parse(JSON.parse(envelope));
  return Statement.parse(JSON.parse(Buffer.from(payload, 'base64').toString('utf8'))).predicate.buildDefinition;
}

/** Materials that are packages; the servers of those below `url` must still serve these very files. */
export async function assertPackages(materials: readonly Material[], url: string): Promise<Material[]> {
  const packages = materials.filter(({ name }) => name.startsWith('pkg:deb/'));
  for (const { name, uri, digest } of packages) {
    assert.match(uri ?? '', /^http:.*\.deb$/, name);
    assert.match(digest?.sha256 ?? '', /^[0-9a-f]{64}$/, name);
    if (uri?.startsWith(url) !== true) continue;
    const content = Buffer.from(await (await fetch(uri)).arrayBuffer());
    assert.is(digest?.sha256, createHash('sha256').update(content).digest('hex'), name);
  }
  return packages;
}

/** A material of a repository. */
const RepositoryMaterial = z.object({
  name: z.string(),
  uri: z.string(),
  digest: z.object({ sha256: z.string().regex(/^[0-9a-f]{64}$/) }),
  annotations: z.object({
    repository: z.object({ uri: z.string(), suite: z.string() }),
    release: z.object({ origin: z.string(), suite: z.string(), codename: z.string(), date: z.iso.datetime() }),
    signers: z.array(z.object({ fingerprint: z.string().regex(/^[0-9A-F]{40}$/) })).min(1),
    packages: z.number(),
    not_known: z.undefined().optional(),
  }),
});

/** Materials that are repositories, all known; the one below `url` must still have this very file. */
export async function assertRepositories(materials: readonly Material[], url: string) {
  const repositories = materials
    .filter(({ name }) => name.startsWith('repositor'))
    .map((material) => RepositoryMaterial.parse(material));
  const own = repositories.filter(({ uri }) => uri.startsWith(url));
  assert.is(own.length, 1);
  for (const { uri, digest } of own) {
    const content = Buffer.from(await (await fetch(uri)).arrayBuffer());
    assert.is(digest.sha256, createHash('sha256').update(content).digest('hex'));
  }
  return repositories;
}
