import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import * as assert from 'uvu/assert';
import { z } from 'zod';

/** CycloneDX's own schemas, which its library ships. */
const library = createRequire(import.meta.url).resolve('@cyclonedx/cyclonedx-library/package.json');
const schemas = join(library, '..', 'res', 'schema');
const schema = (name: string) =>
  z
    .record(z.string(), z.unknown())
    .parse(JSON.parse(readFileSync(join(schemas, `${name}.SNAPSHOT.schema.json`), 'utf8')));

// The schemas describe formats of IRIs and e-mail addresses that ajv-formats does not know.
const ajv = new Ajv({ strict: false, formats: { 'iri-reference': true, 'idn-email': true } });
addFormats.default(ajv);
ajv.addSchema(schema('spdx'), 'http://cyclonedx.org/schema/spdx.SNAPSHOT.schema.json');
ajv.addSchema(schema('jsf-0.82'), 'http://cyclonedx.org/schema/jsf-0.82.SNAPSHOT.schema.json');
const validate = ajv.compile(schema('bom-1.6'));

const Component = z.object({
  type: z.string(),
  'bom-ref': z.string(),
  name: z.string(),
  version: z.string().optional(),
  purl: z.string().optional(),
  hashes: z.array(z.object({ alg: z.string(), content: z.string() })).optional(),
  externalReferences: z.array(z.object({ type: z.string(), url: z.string() })).optional(),
  properties: z.array(z.object({ name: z.string(), value: z.string() })).optional(),
  licenses: z.array(z.unknown()).optional(),
});
const Bom = z.object({
  specVersion: z.literal('1.6'),
  serialNumber: z.string(),
  metadata: z.object({ timestamp: z.string(), component: Component }),
  components: z.array(Component),
  dependencies: z.array(z.object({ ref: z.string(), dependsOn: z.array(z.string()).optional() })),
});

/** The document of `text`. Fails where CycloneDX's schema of version 1.6 does not allow it. */
export function readCyclonedx(text: string): z.infer<typeof Bom> {
  const document: unknown = JSON.parse(text);
  assert.ok(validate(document), JSON.stringify(validate.errors?.slice(0, 3)));
  return Bom.parse(document);
}
