import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { NpmPackage } from './npm-packages.ts';

/** An npm package, with the folder that has its files now. */
export interface LicensedPackage extends NpmPackage {
  readonly files: string;
}

/**
 * Text of a Debian package's copyright file (Debian policy, 12.5): the licence of Image Builder, and that of every shipped
 * npm package with the text that came with it. Throws where one came with none.
 */
export async function copyrightFile(packages: readonly LicensedPackage[]): Promise<string> {
  const parts = await Promise.all(packages.map(licensePart));
  return [
    'Image Builder, Copyright its authors, is licensed under the Apache License, Version 2.0: on Debian systems, its\ntext is in /usr/share/common-licenses/Apache-2.0.\n\nThe npm packages in /usr/lib/imagebuilder/node_modules are the work of others. Their licences follow.\n',
    ...parts,
  ].join(`\n${'-'.repeat(80)}\n\n`);
}

async function licensePart({ files, folder, name, version, license }: LicensedPackage): Promise<string> {
  const names = (await readdir(files)).filter((file) => /^(?:licen[cs]e|copying|notice)/i.test(file)).sort();
  if (names.length === 0)
    throw new Error(`the npm package ${name} ${version} (${license}) has no file with its licence`);
  const texts = await Promise.all(names.map((file) => readFile(join(files, file), 'utf8')));
  return `${name} ${version}, licence ${license}, in /usr/lib/imagebuilder/${folder}\n\n${texts.map((text) => withoutApache(text).trim()).join('\n\n')}\n`;
}

const apacheBegin = 'Version 2.0, January 2004';
const apacheEnd = 'END OF TERMS AND CONDITIONS';

/** The text with the path of Debian's copy for each whole Apache License in it, as Debian policy, 12.5, asks for. */
function withoutApache(text: string): string {
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    const begin = text.indexOf(apacheBegin, at);
    const end = begin < 0 ? -1 : text.indexOf(apacheEnd, begin);
    if (end < 0) return [...parts, text.slice(at)].join('');
    parts.push(text.slice(at, begin), `${apacheBegin}: its text is in /usr/share/common-licenses/Apache-2.0`);
    at = end + apacheEnd.length;
  }
}
