import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { whyNotLinear } from './expressions/ambiguity.ts';
import { findExpressions } from './expressions/find-expressions.ts';
import { parseExpression, repeatsGroups } from './expressions/syntax.ts';

/** No regular expression of the project may take more time than its text is long, whatever the text. */

const repository = join(import.meta.dirname, '../../..');
const files = globSync(['lib/**/*.{ts,js}', 'functions/**/*.ts', 'template/**/*.ts', 'bin/*.ts'], { cwd: repository });

test('expressions that backtrack are distinguished from those that do not', () => {
  const slow = [
    '\\/+$',
    '(?<=.)\\/+$',
    ' +x',
    '\\s*$',
    '#.*$',
    '^a*a*$',
    '^\\s*(.*?)\\s*$',
    '^(.*?):([0-9]+):(.*)$',
    '^.*x.*y$',
    '(a*)*b',
    '^(a|a)*$',
    '^(a|b*)*c',
    '^(\\s*\\w+)*$',
    '(?=.*x)y',
    '^[a-z]{1,200}[a-z]{1,200}$',
    'a(?:[ab]*c)?',
  ];
  for (const source of slow) assert.type(whyNotLinear(source), 'string', source);
  const quick = [
    '\\s+',
    '^\\/+',
    '^\\s+x',
    '^[^:]*:(.*)$',
    '^(\\s+\\S+)*$',
    '^([^"\\\\]|\\\\.)*"$',
    ':\\/\\/[^/@]+@',
    '^(.*)_[0-9]$',
    'x[^x]*x',
    '^[0-9a-f]{64} [ *](.+)$',
  ];
  for (const source of quick) assert.is(whyNotLinear(source), null, source);
  assert.ok(repeatsGroups(parseExpression('^(a|b)(?:x[yz])*$')));
  assert.not(repeatsGroups(parseExpression('^[ab]+(cd){1,9}$')));
  assert.type(whyNotLinear('^a.*', 'm'), 'object', 'what matches wherever it ends');
  assert.type(whyNotLinear(' +x', 'y'), 'object', 'tried at one place alone');
});

test('expressions are found wherever they are written', () => {
  const template = `\`\${x.replace(/a+/g, "}")} /b/ \${y}\`;`;
  const text = ['const a = b / c / d;', template, 'f(/[/]c/, "/d/"); // /e/', 'g(x) / 2', 'new RegExp(a)'];
  const { found, builtOnLines } = findExpressions(text.join('\n'));
  assert.equal(
    found.map(({ line, source, flags }) => `${line} ${source} ${flags}`),
    ['2 a+ g', '3 [/]c '],
  );
  assert.equal(builtOnLines, [5]);
});

test('every expression is linear in its text, and keeps nothing of it on the stack', () => {
  let count = 0;
  const faults: string[] = [];
  for (const file of files) {
    for (const { line, source, flags } of findExpressions(readFileSync(join(repository, file), 'utf8')).found) {
      count += 1;
      const why = whyNotLinear(source, flags);
      if (why !== null) faults.push(`${file}:${line}: /${source}/${flags} is not linear: ${why}`);
      if (repeatsGroups(parseExpression(source)))
        faults.push(`${file}:${line}: /${source}/ repeats a group without end`);
    }
  }
  assert.ok(count > 200, 'the expressions are found');
  assert.equal(faults, [], 'use the functions of lib/text.ts, or split the text first');
});

test('no expression is put together at run time', () => {
  const built = files.flatMap((file) =>
    findExpressions(readFileSync(join(repository, file), 'utf8')).builtOnLines.map((line) => `${file}:${line}`),
  );
  assert.equal(built, [], 'nobody has looked at what such an expression becomes');
});

test.run();
