import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type HttpResponse, readAll } from '#lib/http/response.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

test('an answer in chunks of one byte takes no more memory than its bytes', async () => {
  const megabyte = 2 ** 20;
  let heldBytes = 0;
  async function* body(): AsyncGenerator<Buffer, void> {
    const slab = Buffer.alloc(megabyte, 'abc');
    collectGarbage();
    const before = process.memoryUsage();
    for (let at = 0; at < megabyte; at += 1) yield slab.subarray(at, at + 1);
    collectGarbage();
    const after = process.memoryUsage();
    heldBytes = after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers;
  }
  const response: HttpResponse = {
    status: 200,
    statusText: '',
    headers: {},
    url: 'http://x.example.com/',
    secure: false,
    body: body(),
    [Symbol.dispose]: () => {},
  };
  const bytes = await readAll(response, megabyte);
  assert.ok(bytes.equals(Buffer.alloc(megabyte, 'abc')));
  assert.ok(heldBytes < 4 * megabyte, `${heldBytes} bytes held`);
});

test.run();
