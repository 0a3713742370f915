import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ExecError, exec } from '#lib/exec.ts';
import type { GuestScript, ScriptRunner } from '#lib/guest/guest.ts';
import { lending } from '#lib/guest/lend.ts';
import { scriptError } from '#lib/guest/script-run.ts';
import { failure } from '../../failure.ts';

const test = suite<{ folder: string; names: string[] }>('lending');

test.before.each(async (context) => {
  context.folder = await mkdtemp(join(tmpdir(), 'ib-lend-'));
  context.names = [];
});
test.after.each(async ({ folder }) => await rm(folder, { recursive: true }));

/** Runs scripts on this machine as guests do in an image; notes their names. */
function shell({ folder, names }: { folder: string; names: string[] }): ScriptRunner['run'] {
  return async (script: GuestScript) => {
    names.push(script.name);
    const job = await mkdtemp(join(folder, 'job-'));
    for (const [name, content] of Object.entries({ ...script.files, script: script.text })) {
      await mkdir(dirname(join(job, name)), { recursive: true });
      await writeFile(join(job, name), content);
    }
    return await exec('sh', [join(job, 'script'), ...(script.arguments ?? [])], {
      env: { JOB: job, FOLDER: folder },
      onStatusLine: script.onStatusLine ?? (() => {}),
      ...(script.onLine && { onLine: script.onLine }),
    }).catch((error: ExecError) => {
      throw scriptError(script, error);
    });
  };
}

const loan: GuestScript = {
  name: 'borrow',
  text: `set -eu; echo noise; set -- changed; LC_ALL=; echo lent >>"$FOLDER/loans"; echo "$JOB" >>"$FOLDER/loans"`,
};

test('the first script finds what is lent, and runs as if it were alone; later ones run alone', async (context) => {
  const { run, hasLent } = lending(shell(context), loan);
  assert.is(hasLent(), false);
  const status: string[] = [];
  const { stdout } = await run({
    name: 'first',
    text: `head -n 1 "$FOLDER/loans"; cat "$JOB/file"; echo "$1 $# $LC_ALL $-"; echo status >&3; false; echo on`,
    arguments: ['one two', 'three'],
    files: { file: 'content\n' },
    onStatusLine: (line) => status.push(line),
  });
  assert.is(stdout, 'lent\ncontent\none two 2 C.UTF-8 \non\n');
  assert.equal(status, ['status']);
  assert.is(hasLent(), true);
  assert.is((await run({ name: 'second', text: 'wc -l <"$FOLDER/loans"' })).stdout.trim(), '2');
  assert.equal(context.names, ['first', 'second']);
});

test('arguments of the loan are its own', async (context) => {
  const { run } = lending(shell(context), { ...loan, text: 'echo "$1" >"$FOLDER/since"', arguments: ['12345'] });
  assert.is((await run({ name: 'first', text: 'echo "$#"; cat "$FOLDER/since"' })).stdout, '0\n12345\n');
});

test('where lending fails, the first script is not run, and the error is one of the image', async (context) => {
  const failing = { ...loan, text: "echo 'unsupported: /etc/x in the image is no plain file' >&2; exit 65" };
  const { run } = lending(shell(context), failing);
  const error = await failure(run({ name: 'first', text: 'echo ran >"$FOLDER/ran"' }));
  assert.is(error.code, 'image.unsupported');
  assert.is(error.message, '/etc/x in the image is no plain file');
  assert.is((await run({ name: 'second', text: 'ls "$FOLDER/ran" 2>&1; :' })).stdout.includes('cannot access'), true);
});

test('an image without room for what is lent is full before anything is installed', async (context) => {
  const failing = { ...loan, text: "echo 'mkdir: /etc/x: No space left on device' >&2; exit 1" };
  const error = await failure(lending(shell(context), failing).run({ name: 'first', text: ':' }));
  assert.is(error.code, 'image.full');
  assert.match(error.message, 'before anything is installed');
});

test('an error of the first script itself is its own', async (context) => {
  const { run } = lending(shell(context), loan);
  const error = await failure(run({ name: 'first', text: "echo 'unsupported: no' >&2; exit 3" }));
  assert.instance(error, ExecError);
  assert.is(error.message, 'the script first inside the image failed with exit code 3: unsupported: no');
});

test.run();
