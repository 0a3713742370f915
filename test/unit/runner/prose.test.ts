import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { proseOf, wordsOf } from '../../runner/prose.ts';

const read = (path: string, text: string) => proseOf(path, text).flatMap((passage) => wordsOf(passage.text));

test('comments and strings of several words are read in TypeScript, and nothing else', () => {
  const text = [
    "const quoted = 'word', title = 'a title with words'; // A comment",
    '/** A `name` of it\n * on two lines. */',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of a program
    'throw new Error(`the file ${path.of(`inner`)}s of the caller is missing`);',
    "if (/'/.test(a)) b = c / d; // it's after an apostrophe",
  ].join('\n');
  assert.is(
    read('lib/x.ts', text).join(' '),
    'title with words comment of it on two lines the file of the caller is missing it after an apostrophe',
  );
  assert.equal(
    proseOf('lib/x.ts', text).map(({ line }) => line),
    [1, 1, 2, 4, 4, 5],
  );
});

test('code in pages and all but comments in scripts is not read', () => {
  const page = 'See [the page](x/pag.md) and `code`.\n```sh\nmore code\n```\nThe end';
  assert.is(read('a.md', page).join(' '), 'See the page and The end');
  assert.is(read('a.sh', '#!/bin/sh\n# Why so\nmake "$#" # twice').join(' '), 'Why so twice');
});

test('parts with a digit, a sign or a capital within are names and no words', () => {
  const text = "qcow2, IMAGE's getFile() a.b x=y /usr/bin http://host/path read-only builds’ Lander's";
  assert.is(wordsOf(text).join(' '), 'read only builds Lander');
});

test.run();
