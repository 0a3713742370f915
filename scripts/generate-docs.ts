import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exampleEvents } from '#lib/api/example-events.ts';
import { allSettings } from '#lib/config/load.ts';
import { secretFiles } from '#lib/config/secrets.ts';
import { errorTable } from '#lib/errors.ts';
import { exec } from '#lib/exec.ts';
import { charmOptions, charmTables } from './charm-files.ts';

/**
 * Writes the parts of the documentation that are generated from the code: the tables of settings and secrets in
 * README.md, the table of errors in docs/errors.md, the events in docs/api.md, and the manual page; and the charm's options
 * and tables. A test fails when they differ from the code.
 */

const root = join(import.meta.dirname, '..');
const manualPath = 'docs/imagebuilder.1';

/** The pages with their generated parts brought up to date, by path relative to the repository. */
export async function generateDocs(): Promise<Map<string, { readonly before: string; readonly after: string }>> {
  const pages = new Map<string, { before: string; after: string }>();
  for (const [path, marker, text] of [
    ['README.md', 'settings', settingsTable()],
    ['README.md', 'secrets', secretsTable()],
    ['docs/errors.md', 'errors', errorsTable()],
    ['docs/api.md', 'events', eventExamples()],
    ['charm/charmcraft.yaml', 'options', charmOptions()],
  ] as const) {
    const page = pages.get(path) ?? (await readPage(path));
    pages.set(path, { before: page.before, after: replacePart(page.after, marker, text, path) });
  }
  const manual = await exec(process.execPath, [join(root, 'bin/imagebuilder.ts'), 'man']);
  pages.set(manualPath, { ...(await readPage(manualPath)), after: manual.stdout });
  for (const [name, text] of await charmTables(root)) {
    const path = `charm/src/${name}`;
    pages.set(path, { ...(await readPage(path)), after: text });
  }
  return pages;
}

async function readPage(path: string): Promise<{ before: string; after: string }> {
  const before = await readFile(join(root, path), 'utf8');
  return { before, after: before };
}

function replacePart(page: string, marker: string, text: string, path: string): string {
  const comment = (words: string) => (path.endsWith('.yaml') ? `    # ${words}` : `<!-- ${words} -->`);
  const begin = comment(`generated: ${marker}`);
  const end = comment(`end: ${marker}`);
  const from = page.indexOf(begin);
  const to = page.indexOf(end);
  if (from < 0 || to < from) throw new Error(`${path} has no part between "${begin}" and "${end}"`);
  return `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`;
}

function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n');
}

function settingsTable(): string {
  return table(
    ['Variable', 'Default', 'Meaning'],
    allSettings.map(({ variable, fallback, meaning }) => [
      `\`${variable}\``,
      fallback === '' ? '(empty)' : `\`${fallback}\``,
      meaning,
    ]),
  );
}

function secretsTable(): string {
  return table(
    ['Secret', 'Read by', 'Meaning'],
    Object.values(secretFiles).map(({ file, readers, meaning }) => [`\`${file}\``, readers.join(', '), meaning]),
  );
}

function errorsTable(): string {
  return table(
    ['Code', 'Fault', 'Status', 'Trying again helps', 'Meaning'],
    Object.entries(errorTable).map(([code, row]) => [
      `\`${code}\``,
      row.fault,
      String(row.status),
      row.retryable ? 'yes' : 'no',
      row.title,
    ]),
  );
}

function eventExamples(): string {
  return Object.values(exampleEvents)
    .map((event) => `\`${event.state}\`:\n\n\`\`\`json\n${JSON.stringify(event, null, 2)}\n\`\`\`\n`)
    .join('\n');
}

if (import.meta.main) {
  for (const [path, { before, after }] of await generateDocs()) {
    if (before === after) continue;
    await writeFile(join(root, path), after);
    process.stdout.write(`wrote ${path}\n`);
  }
}
