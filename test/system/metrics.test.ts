import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { startService } from './service.ts';

/** The metrics of a running service, read by Prometheus' own tool. */

const repository = join(import.meta.dirname, '../..');
const service = await startService({ ppas: () => [] });
test.after(async () => {
  await service[Symbol.asyncDispose]();
});

async function scrape(): Promise<string> {
  const response = await fetch(`${service.url}/metrics`);
  assert.is(response.status, 200);
  assert.is(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  return await response.text();
}

/** The metrics of Image Builder in an answer, by name, with their types. */
const typesIn = (text: string) =>
  new Map(
    [...text.matchAll(/^# TYPE (imagebuilder_[a-z_]+) ([a-z]+)$/gm)].map(([, name = '', type = '']) => [name, type]),
  );

test('serve answers for all functions, as promtool accepts it', async () => {
  const text = await scrape();
  await execa('promtool', ['check', 'metrics'], { input: text });
  const up = text.match(/^imagebuilder_function_up\{function="[a-z-]+"\} 1$/gm) ?? [];
  assert.ok(up.length >= 2, text);
  assert.match(text, /^imagebuilder_broker_reachable\{function="status"\} 1$/m);
});

test('docs/monitoring.md lists the metrics that there are, with their types', async () => {
  const docs = await readFile(join(repository, 'docs/monitoring.md'), 'utf8');
  const rows = [...docs.matchAll(/^\| `(imagebuilder_[a-z_]+)` \| ([a-z]+) \|/gm)];
  assert.equal(
    new Map(rows.map(([, name = '', type = '']) => [name, type] as const).sort()),
    new Map([...typesIn(await scrape())].sort()),
  );
});

test.run();
