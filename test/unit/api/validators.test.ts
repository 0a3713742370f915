import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import openapiTS from 'openapi-typescript';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { asyncApiDocument } from '#lib/api/asyncapi.ts';
import { openApiDocument } from '#lib/api/openapi/document.ts';
import { exec } from '#lib/exec.ts';
import { follow, type Schema, walk } from './document.ts';

/** The documents of the API, checked by the tools that callers use. */

const require = createRequire(import.meta.url);
const repository = join(import.meta.dirname, '../../..');
// As callers get them.
const openApi = JSON.parse(JSON.stringify(openApiDocument({ version: '1.2.3', serverUrl: '' })));
const asyncApi = JSON.parse(JSON.stringify(asyncApiDocument({ version: '1.2.3' })));

test('the OpenAPI document is valid by the schema of OpenAPI 3.1, and one with a fault is not', async () => {
  const validator = new Validator();
  const result = await validator.validate(structuredClone(openApi));
  assert.ok(result.valid, JSON.stringify(result));
  assert.is(validator.version, '3.1');
  const { '/api/v1/imagebuilder/status': path } = structuredClone(openApi).paths;
  path.get.parameters[0].in = 'body';
  const faulty = { ...openApi, paths: { '/api/v1/imagebuilder/status': path } };
  assert.not.ok((await new Validator().validate(faulty)).valid);
});

test('the AsyncAPI document is valid by the schema of AsyncAPI 3.0, and one with a fault is not', () => {
  const ajv = addFormats.default(new Ajv({ strict: false, allErrors: true }));
  const valid = ajv.compile(require('@asyncapi/specs/schemas/3.0.0-without-$id.json'));
  const { sendEvent } = asyncApi.operations;
  const faulty = { ...asyncApi, operations: { sendEvent: { ...sendEvent, action: 'publish' } } };
  assert.ok(valid(asyncApi), JSON.stringify(valid.errors));
  assert.not.ok(valid(faulty));
});

/** Places of all schemas below a value of a document that have examples, as JSON pointers. */
function withExamples(value: unknown, pointer = ''): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const here = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    if (key === 'examples' || key === 'default' || key === 'example') return [];
    const own = typeof inner === 'object' && inner !== null && Array.isArray(inner.examples) ? [here] : [];
    return [...own, ...withExamples(inner, here)];
  });
}

test('every example of a field is what its schema takes', () => {
  for (const [document, ajv] of [
    [openApi, new Ajv2020({ strict: false })],
    [asyncApi, new Ajv({ strict: false })],
  ]) {
    addFormats.default(ajv).addSchema({ $id: 'document', components: document.components });
    const places = withExamples(document.components.schemas, '/components/schemas');
    assert.ok(places.length > 50, `${places.length} are found`);
    for (const place of places) {
      const valid = ajv.compile({ $ref: `document#${encodeURI(place)}` });
      for (const example of (follow(document, `#${place}`) as Schema).examples ?? [])
        assert.ok(valid(example), `${place}: ${ajv.errorsText(valid.errors)}`);
    }
  }
});

test('examples of calls, answers and the callback are what their schemas take', () => {
  const ajv = addFormats.default(new Ajv2020({ strict: false }));
  ajv.addSchema({ $id: 'document', components: openApi.components });
  let seen = 0;
  const check = (schema: object, example: unknown) => {
    seen += 1;
    const text = JSON.stringify(schema).replaceAll('"#/components', '"document#/components');
    const valid = ajv.compile(JSON.parse(text));
    assert.ok(valid(example), `${text.slice(0, 100)}: ${ajv.errorsText(valid.errors)}`);
  };
  walk(openApi.paths, look);
  walk(openApi.webhooks, look);
  assert.ok(seen > 20, `${seen} are found`);

  function look(_key: string, value: unknown): void {
    if (typeof value !== 'object' || value === null || !('schema' in value)) return;
    const { schema, example, examples } = value as {
      schema: object;
      example?: unknown;
      examples?: Readonly<Record<string, { readonly value: unknown }>>;
    };
    if (example !== undefined) check(schema, example);
    for (const { value: given } of Object.values(examples ?? {})) check(schema, given);
  }
});

test('examples of messages are what their schemas take', () => {
  const ajv = addFormats.default(new Ajv({ strict: false }));
  ajv.addSchema({ $id: 'document', components: asyncApi.components });
  for (const [name, { examples }] of Object.entries<{ examples: { headers: unknown; payload: unknown }[] }>(
    asyncApi.components.messages,
  )) {
    assert.ok(examples.length > 0, name);
    for (const example of examples) {
      for (const part of ['headers', 'payload'] as const) {
        const valid = ajv.compile({ $ref: `document#/components/messages/${name}/${part}` });
        assert.ok(valid(example[part]), `${name} ${part}: ${ajv.errorsText(valid.errors)}`);
      }
    }
  }
  const completed = ajv.compile({ $ref: 'document#/components/messages/completed/payload' });
  assert.not.ok(completed(asyncApi.components.messages.failed.examples[0].payload), 'an event of another state');
});

const usage = `
import type { components, operations, webhooks } from './api.ts';

type Request = components['schemas']['BuildRequest'];
const least: Request = {
  ticket_id: 'T-77',
  base_image: { image_type: 'cloud', url_list: ['https://images.example.org/a.img'], series: 'noble' },
  progress_trigger: 'lander.progress',
};
export const request: Request = { ...least, ppa_list: ['ppa:example/tools'], callback_url: null };
// @ts-expect-error: a request needs its base image.
export const incomplete: Request = { ticket_id: 1, progress_trigger: 'lander.progress' };
// @ts-expect-error: PPAs are strings.
export const wrong: Request = { ...least, ppa_list: [{ owner: 'example', name: 'tools' }] };

type Event = webhooks['buildEnded']['post']['requestBody']['content']['application/json'];
export function onEvent(event: Event): string {
  if (event.state === 'completed') return event.image?.checksums.sha256 ?? '';
  // @ts-expect-error: there is no such state.
  if (event.state === 'finished') return '';
  return event.error?.code ?? 'none';
}
type Answer = operations['getStatus']['responses'][200]['content']['application/json'];
export const names = (answer: Answer): string[] => answer.workers.map(({ name }) => name);
`;

test('a caller can generate types from the OpenAPI document, and compile with them', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'imagebuilder-types-'));
  try {
    await writeFile(join(folder, 'api.ts'), await openapiTS(structuredClone(openApi)));
    await writeFile(join(folder, 'usage.ts'), usage);
    const compilerOptions = {
      ...{ strict: true, noEmit: true, types: [], module: 'nodenext', allowImportingTsExtensions: true },
      ...{ exactOptionalPropertyTypes: true, skipLibCheck: false },
    };
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
    await exec(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc'), '-p', folder]);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.run();
