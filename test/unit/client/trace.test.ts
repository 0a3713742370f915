import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleAccepted } from '#lib/api/examples.ts';
import { openClient } from '../../../bin/gateway.ts';
import { startServer } from '../fetch/with-server.ts';

const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const cases = [
  [{}, []],
  [{ TRACEPARENT: traceparent }, [traceparent, undefined]],
  [{ TRACEPARENT: traceparent, TRACESTATE: 'a=1' }, [traceparent, 'a=1']],
  [{ TRACEPARENT: traceparent, TRACESTATE: 'a\u00e9' }, [traceparent, undefined]],
  [{ TRACEPARENT: 'nonsense', TRACESTATE: 'a=1' }, []],
] as const;

for (const [variables, expected] of cases) {
  test(`a submission carries ${expected.length === 0 ? 'no trace' : 'the trace'} of ${JSON.stringify(variables)}`, async () => {
    const names = ['TRACEPARENT', 'TRACESTATE'] as const;
    const before = names.map((name) => process.env[name]);
    await using server = await startServer((_request, response) => {
      response.writeHead(202, { 'content-type': 'application/json' }).end(JSON.stringify(exampleAccepted));
    });
    try {
      for (const name of names) delete process.env[name];
      Object.assign(process.env, variables);
      const client = await openClient({ url: server.url });
      assert.ok((await client.submit({})).created);
      const [headers = {}] = server.headers;
      assert.equal([headers.traceparent, headers.tracestate], [expected[0], expected[1]]);
    } finally {
      for (const [index, name] of names.entries()) {
        const value = before[index];
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
  });
}

test.run();
