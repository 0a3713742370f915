import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseRecords } from '#lib/apt/outside/records.ts';
import { stateOf } from '#lib/apt/outside/state.ts';
import { ImageBuilderError } from '#lib/errors.ts';

const encode = (text: string | Buffer) =>
  gzipSync(text)
    .toString('base64')
    .match(/.{1,100}/g) ?? [];

async function failure(lines: readonly string[]): Promise<string> {
  try {
    await parseRecords(lines);
    return 'nothing was thrown';
  } catch (error) {
    return error instanceof ImageBuilderError ? error.code : String(error);
  }
}

test('files of any content come out as they went in', async () => {
  const name = fc.stringMatching(/^[A-Za-z0-9._:-]{1,40}$/);
  const records = fc.array(fc.record({ name, content: fc.uint8Array({ maxLength: 300 }) }), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(records, async (given) => {
      const headers = given.map(({ name, content }) => `${content.length} some-kind ${name}\n`);
      const contents = given.map(({ content }) => content);
      const found = await parseRecords(
        encode(Buffer.concat([Buffer.from(`${headers.join('')}0 end -\n`), ...contents])),
      );
      assert.equal(
        found.map(({ kind, name, content }) => ({ kind, name, content: [...content] })),
        given.map(({ name, content }) => ({ kind: 'some-kind', name, content: [...content] })),
      );
    }),
    { numRuns: 50 },
  );
});

test('any other output of an image is refused as such, and nothing else is thrown', async () => {
  const line = fc.oneof(
    fc.constantFrom('0 end -\n', '3 status -\n', 'abc', '1 x ../y\nz', '-1 a b\n', '9999999999 a b\n', '\n'),
    fc.string(),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 6 }), async (lines) => {
      const codes = ['guest.failed', 'nothing was thrown'];
      assert.ok(codes.includes(await failure(encode(lines.join('')))), lines.join(''));
    }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.string()), async (lines) => assert.is(await failure(lines), 'guest.failed')),
  );
});

test('data that is cut off, or goes on after its end, is refused', async () => {
  const whole = '3 status -\n0 end -\nabc';
  assert.is((await parseRecords(encode(whole))).length, 1);
  for (let length = 0; length < whole.length; length += 1) {
    assert.is(await failure(encode(whole.slice(0, length))), 'guest.failed', `${length}`);
  }
  assert.is(await failure(encode(`${whole}x`)), 'guest.failed');
  assert.is(await failure(encode(whole).slice(0, -1)), 'guest.failed');
  assert.is(await failure(['not base64!']), 'guest.failed');
});

test('data that unpacks to more than any image has, or to too many files, is refused', async () => {
  assert.is(await failure(encode(Buffer.alloc(100 * 1024 * 1024))), 'image.too_large');
  assert.is(await failure(encode(`${'0 source-part a\n'.repeat(3000)}0 end -\n`)), 'image.too_large');
});

test('text for us to read is held to what images have, and files that are only handed on are not', () => {
  const newlines = Buffer.alloc(90 * 1024 * 1024, '\n');
  for (const kind of ['configuration', 'source-part', 'preferences']) {
    assert.throws(
      () => stateOf([{ kind, name: 'a.list', content: newlines }], '2.4.5'),
      (error: ImageBuilderError) => error.code === 'image.too_large' && /94371840 bytes/.test(error.message),
    );
  }
  assert.is(stateOf([{ kind: 'status', name: '-', content: newlines }], '2.4.5').status.length, newlines.length);
});

const record = (kind: string, name: string, text = name) => ({ kind, name, content: Buffer.from(text) });

test('sources stand in the order in which apt reads them, without the files it does not look at', () => {
  const records = [
    record('source-part', 'b.list'),
    record('source-part', 'a.sources'),
    record('source-part', 'c.list.save'),
    record('source-part', '.hidden.list'),
    record('source', '-', 'main'),
    record('trusted-part', 'k.asc'),
    record('trusted-part', 'k.gpg'),
    record('preferences-part', 'plain'),
    record('preferences-part', 'p.pref'),
    record('preferences-part', 'p.bak'),
    record('netrc-part', 'n.conf'),
  ];
  const names = (files: readonly { name: string }[]) => files.map(({ name }) => name);
  const state = stateOf(records, '2.4.5');
  assert.equal(names(state.sources), ['sources.list', 'a.sources', 'b.list']);
  assert.equal(names(state.trusted), ['k.asc', 'k.gpg']);
  assert.equal(names(state.preferences), ['p.pref', 'plain']);
  assert.equal(names(state.credentials), ['n.conf']);
  const trusty = stateOf(records, '1.0.1ubuntu2');
  assert.equal(names(trusty.sources), ['sources.list', 'b.list']);
  assert.equal(names(trusty.trusted), ['k.gpg']);
  assert.equal(names(trusty.credentials), []);
});

test.run();
