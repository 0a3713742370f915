import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BuildEvent, BuildState, isTerminal } from '#lib/api/event.ts';
import { exampleEvents } from '#lib/api/example-events.ts';
import {
  exampleAccepted,
  exampleCancelAccepted,
  exampleRequest,
  exampleRetried,
  exampleStatus,
  exampleWholeBuild,
} from '#lib/api/examples.ts';
import { openApiDocument } from '#lib/api/openapi/document.ts';
import { BuildRequest } from '#lib/api/request.ts';
import { Accepted, BuildStatus, CancelAccepted, Status } from '#lib/api/status.ts';
import { errorTable } from '#lib/errors.ts';
import { startOperation } from '#lib/trace-context.ts';
import { sendCallback } from '#lib/worker/callback.ts';
import { fieldsOf, type Schema, walk } from './document.ts';

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly responses: Record<string, { readonly description: string }>;
}

// As callers get it.
const document = JSON.parse(JSON.stringify(openApiDocument({ version: '1.2.3', serverUrl: '' })));

const fields = fieldsOf(document.components.schemas);

function operations(): Operation[] {
  const found: Operation[] = [];
  for (const path of Object.values<Record<string, Operation>>({ ...document.paths, ...document.webhooks })) {
    for (const method of ['get', 'post', 'put', 'delete']) {
      const operation = path[method];
      if (operation !== undefined) found.push(operation);
    }
  }
  return found;
}

test('it is OpenAPI 3.1 with everything that is required', () => {
  assert.is(document.openapi, '3.1.0');
  assert.is(document.info.version, '1.2.3');
  assert.type(document.info.title, 'string');
  for (const operation of operations()) {
    assert.ok(operation.operationId, 'an operation has no id');
    assert.ok(operation.summary, operation.operationId);
    assert.ok(Object.keys(operation.responses).length > 0, operation.operationId);
    for (const response of Object.values(operation.responses)) assert.ok(response.description, operation.operationId);
  }
  const names = operations().map((operation) => operation.operationId);
  assert.is(new Set(names).size, names.length);
});

test('every field has a description and an example', () => {
  assert.ok(fields.length > 100, `${fields.length} fields are found`);
  const bare = fields.filter(([, { description, examples }]) => !description || !examples?.length);
  assert.equal(
    bare.map(([name]) => name),
    [],
    'describe each with field() of lib/api/field.ts',
  );
});

test('every parameter and header has a description and an example', () => {
  let seen = 0;
  const bare: string[] = [];
  const look = (name: string, { description, example }: { description?: string; example?: unknown }) => {
    seen += 1;
    if (!description || example === undefined) bare.push(name);
  };
  walk(document, (key, value) => {
    if (key === 'parameters')
      for (const item of value as { name: string; description?: string }[]) look(item.name, item);
    if (key === 'headers') for (const [name, item] of Object.entries(value as object)) look(name, item);
  });
  assert.ok(seen > 20, `${seen} are found`);
  assert.equal(bare, []);
});

test('docs/api.md names every field', () => {
  const page = readFileSync(join(import.meta.dirname, '../../../docs/api.md'), 'utf8');
  const prose = page
    .split(/^```/m)
    .filter((_, index) => index % 2 === 0)
    .join('');
  const named = new Set([...prose.matchAll(/`([^`\n]+)`/g)].flatMap((match) => match[1]?.split(/[^\w]+/) ?? []));
  const missing = fields.filter(([name]) => !named.has(name.split('.').at(-1) ?? ''));
  assert.equal(
    missing.map(([name]) => name),
    [],
  );
});

test('a request is described with all its defaults', () => {
  const { properties } = document.components.schemas.BuildRequest;
  const least = { ticket_id: 1, base_image: exampleRequest.base_image, progress_trigger: 'x' };
  const { ticket_id: _, base_image: __, progress_trigger: ___, ...defaults } = BuildRequest.parse(least);
  const described = Object.entries<Schema>(properties).filter(([, schema]) => 'default' in schema);
  assert.equal(Object.fromEntries(described.map(([name, schema]) => [name, schema.default])), defaults);
});

test('answers and events may have further fields, so that the schemas take those of a later version', () => {
  for (const [name, schema] of Object.entries(document.components.schemas)) {
    if (name === 'BuildRequest') continue;
    walk({ schema }, (key) => assert.is.not(key, 'additionalProperties', name));
  }
});

test('the webhook names the headers that a callback has, and shows each way in which a build ends', async () => {
  const { parameters, requestBody } = document.webhooks.buildEnded.post;
  const seen: string[] = [];
  const trace = { ...startOperation(null), state: 'maker=1' };
  for (const signingKey of [null, 'key']) {
    await sendCallback({ url: 'http://x.example', callId: 'call', trace }, exampleEvents.completed, {
      post: async (_url, _body, headers) => {
        seen.push(...Object.keys(headers));
        return 200;
      },
      ...{ signingKey, durationSeconds: 1, signal: new AbortController().signal },
    });
  }
  const named = parameters.map(({ name }: { name: string }) => name.toLowerCase());
  assert.equal([...new Set(seen)].filter((name) => name !== 'content-type').sort(), named.sort());
  assert.equal(Object.keys(requestBody.content['application/json'].examples), BuildState.options.filter(isTerminal));
});

test('every reference leads somewhere, and every schema is used', () => {
  const used = new Set<string>();
  walk(document, (key, value) => {
    if (key !== '$ref') return;
    const match = /^#\/components\/schemas\/([A-Za-z]+)$/.exec(String(value));
    assert.ok(match?.[1] !== undefined && match[1] in document.components.schemas, String(value));
    used.add(match?.[1] ?? '');
  });
  assert.equal([...used].sort(), Object.keys(document.components.schemas).sort());
});

test('path parameters are declared', () => {
  for (const [path, item] of Object.entries<{ parameters?: { name: string }[] }>(document.paths)) {
    const wanted = [...path.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]);
    assert.equal(
      (item.parameters ?? []).map((parameter) => parameter.name),
      wanted,
    );
  }
});

test('the paths of the API and of the functions answer the same', () => {
  const shapeOf = (path: string) => {
    const copy = structuredClone(document.paths[path]);
    for (const method of Object.values<Partial<Operation>>(copy))
      delete (method as { operationId?: string }).operationId;
    return copy;
  };
  assert.equal(shapeOf('/api/v1/build_image/'), shapeOf('/function/build-image'));
  for (const below of ['{build_id}', '{build_id}/retry']) {
    assert.equal(shapeOf(`/api/v1/build_image/${below}`), shapeOf(`/function/build-image/${below}`));
  }
  assert.equal(shapeOf('/api/v1/imagebuilder/status'), shapeOf('/function/status'));
});

test('examples are what the schemas take', () => {
  assert.ok(BuildRequest.safeParse(exampleRequest).success);
  assert.ok(Accepted.safeParse(exampleAccepted).success);
  assert.ok(Accepted.safeParse(exampleRetried).success);
  assert.equal(BuildStatus.parse(exampleWholeBuild), exampleWholeBuild);
  assert.ok(Status.safeParse(exampleStatus).success);
  assert.ok(CancelAccepted.safeParse(exampleCancelAccepted).success);
  assert.equal(Object.keys(exampleEvents), BuildState.options);
  for (const event of Object.values(exampleEvents)) assert.equal(BuildEvent.parse(event), event);
});

test('a request is described as it is written: PPAs are strings and only what has no default is required', () => {
  const schema = document.components.schemas.BuildRequest;
  assert.is(schema.properties.ppa_list.items.type, 'string');
  assert.equal(schema.required.sort(), ['base_image', 'progress_trigger', 'ticket_id']);
  assert.is(schema.additionalProperties, false);
});

test('every status that errors of a call can have is described', () => {
  const described = new Set(operations().flatMap((operation) => Object.keys(operation.responses)));
  for (const code of [
    'request.malformed',
    'request.invalid',
    'request.too_large',
    'request.unauthorized',
    'request.forbidden',
    'request.method',
    'caller.limit',
    'request.conflict',
    'build.not_found',
    'build.finished',
    'broker.unreachable',
    'internal',
  ] as const) {
    assert.ok(described.has(String(errorTable[code].status)), code);
  }
});

test.run();
