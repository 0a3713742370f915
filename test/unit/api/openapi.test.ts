import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleAccepted, exampleRequest, exampleStatus } from '#lib/api/examples.ts';
import { openApiDocument } from '#lib/api/openapi.ts';
import { BuildRequest } from '#lib/api/request.ts';
import { Accepted, Status } from '#lib/api/status.ts';
import { errorTable } from '#lib/errors.ts';

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly responses: Record<string, { readonly description: string }>;
}

// As callers get it.
const document = JSON.parse(JSON.stringify(openApiDocument({ version: '1.2.3', serverUrl: '' })));

function walk(value: unknown, visit: (key: string, value: unknown) => void): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    visit(key, inner);
    walk(inner, visit);
  }
}

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
  assert.equal(shapeOf('/api/v1/imagebuilder/status'), shapeOf('/function/status'));
});

test('examples are what the schemas take', () => {
  assert.ok(BuildRequest.safeParse(exampleRequest).success);
  assert.ok(Accepted.safeParse(exampleAccepted).success);
  assert.ok(Status.safeParse(exampleStatus).success);
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
