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
