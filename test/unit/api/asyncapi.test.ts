import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { asyncApiDocument } from '#lib/api/asyncapi.ts';
import { callbackHeaders } from '#lib/api/callback-headers.ts';
import { BuildEvent, BuildState, isTerminal } from '#lib/api/event.ts';
import { EventHeaders } from '#lib/api/event-headers.ts';
import { exampleEvents } from '#lib/api/example-events.ts';
import { openApiDocument } from '#lib/api/openapi/document.ts';
import { routingOf } from '#lib/queue/event-routing.ts';
import { parseTraceContext } from '#lib/trace-context.ts';
import { fieldsOf, follow, walk } from './document.ts';

// As callers get it.
const document = JSON.parse(JSON.stringify(asyncApiDocument({ version: '1.2.3' })));

test('it is AsyncAPI 3.0 with the version of the service', () => {
  assert.equal([document.asyncapi, document.info.version], ['3.0.0', '1.2.3']);
});

test('every reference leads somewhere, and every schema and message is used', () => {
  const used = new Set<string>();
  walk(document, (key, value) => {
    if (key !== '$ref') return;
    assert.ok(follow(document, String(value)) !== undefined, String(value));
    used.add(String(value));
  });
  for (const kind of ['schemas', 'messages']) {
    for (const name of Object.keys(document.components[kind]))
      assert.ok(used.has(`#/components/${kind}/${name}`), name);
  }
});

test('every field and header has a description and an example', () => {
  const headers = Object.entries<{ headers: unknown }>(document.components.messages).map(([name, message]) => [
    name,
    message.headers,
  ]);
  const fields = fieldsOf({ ...document.components.schemas, ...Object.fromEntries(headers) });
  assert.ok(fields.length > 80, `${fields.length} fields are found`);
  const bare = fields.filter(([, { description, examples }]) => !description || !examples?.length);
  assert.equal(
    bare.map(([name]) => name),
    [],
  );
});

test('events have the fields that OpenAPI describes', () => {
  const { components } = JSON.parse(JSON.stringify(openApiDocument({ version: '1', serverUrl: '' })));
  for (const [name, schema] of Object.entries<{ properties: object }>(document.components.schemas)) {
    assert.equal(Object.keys(schema.properties), Object.keys(components.schemas[name].properties), name);
  }
});

test('there is a message for each state, with the routing key, headers and body of a real event', () => {
  assert.equal(Object.keys(document.channels.events.messages), BuildState.options);
  const trace = parseTraceContext({ traceparent: callbackHeaders.traceparent.example });
  for (const state of BuildState.options) {
    const { name, payload, examples } = document.components.messages[state];
    const { key, headers } = routingOf(exampleEvents[state], trace);
    assert.is(name, key);
    assert.equal(examples, [{ name: state, headers, payload: exampleEvents[state] }]);
    assert.equal(EventHeaders.parse(headers), headers);
    assert.equal(BuildEvent.parse(examples[0].payload), exampleEvents[state]);
    for (const member of payload.allOf[1].required) assert.ok(member in exampleEvents[state], `${state} ${member}`);
  }
});

test('the callback shows each way in which a build ends', () => {
  const { examples } = document.components.messages.ended;
  assert.equal(
    examples.map(({ name, headers }: { name: string; headers: Record<string, string> }) => [
      name,
      headers['X-Function-Status'],
    ]),
    BuildState.options.filter(isTerminal).map((state) => [state, state === 'completed' ? '200' : '500']),
  );
});

test.run();
