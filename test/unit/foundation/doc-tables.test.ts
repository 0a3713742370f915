import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/** Tables of the pages are whole: GitHub shows rows after a blank line, or with another number of cells, as plain text. */

const root = join(import.meta.dirname, '../../..');

/** The faults in the tables of a Markdown text, by line. */
function faultsOfTables(text: string): string[] {
  const lines = text.split('\n');
  const faults: string[] = [];
  let inCode = false;
  let first = 0;
  for (const [index, line] of lines.entries()) {
    if (line.trimStart().startsWith('```')) inCode = !inCode;
    if (inCode || !isRow(line)) {
      first = index + 1;
      continue;
    }
    const header = lines[first] ?? '';
    if (index === first && !isDelimiter(lines[index + 1] ?? '')) faults.push(`${index + 1}: a table without a header`);
    if (cells(line) !== cells(header)) faults.push(`${index + 1}: not as many cells as the header`);
  }
  return faults;
}

const isRow = (line: string) => line.trimStart().startsWith('|');
const isDelimiter = (line: string) => /^ *\|[ :|-]+\|$/.test(line) && line.includes('-');
const cells = (line: string) => line.replaceAll('\\|', '').split('|').length;

test('a table that is cut in two, has no header or a row with too few cells is found', () => {
  const table = '| A | B |\n|---|---|\n| 1 | 2 |';
  assert.equal(faultsOfTables(`Text\n\n${table}\n| 3 \\| 4 | 5 |\n\nText\n\n  ${table.replaceAll('\n', '\n  ')}`), []);
  assert.equal(faultsOfTables(`\`\`\`\n| no table |\n\`\`\``), []);
  assert.equal(faultsOfTables(`${table}\n\n| 3 | 4 |\n| 5 | 6 |`), ['5: a table without a header']);
  assert.equal(faultsOfTables(`${table}\n| 3 |`), ['4: not as many cells as the header']);
});

test('every table of the pages is whole', async () => {
  const below = (await readdir(join(root, 'docs'), { recursive: true })).filter((name) => name.endsWith('.md'));
  const pages = [
    ...(await readdir(root)).filter((name) => name.endsWith('.md')),
    ...below.map((name) => `docs/${name}`),
  ];
  const faults: string[] = [];
  for (const page of pages) {
    for (const fault of faultsOfTables(await readFile(join(root, page), 'utf8'))) faults.push(`${page}:${fault}`);
  }
  assert.equal(faults, []);
});

test.run();
