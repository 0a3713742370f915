import { exec } from '#lib/exec.ts';
import { findTool } from '#lib/tools.ts';
import { projectFiles } from './files.ts';
import { type Passage, proseOf, wordsOf } from './prose.ts';
import { skippedExitCode } from './summary.ts';

/**
 * Checks the spelling of pages, comments, messages and titles of tests with hunspell: British English, and the words of
 * scripts/words.txt. Exits with 1 after printing faults, with `skippedExitCode` where hunspell is not installed.
 */

const listPath = 'scripts/words.txt';
const notProse = /\.json$|^LICENSE$|^scripts\/words\.txt$/;
/** hunspell's British dictionary takes both spellings; the project writes `recognise`. */
const americanEnding = /[lnrmtv]iz(?:e[drs]?|ing|ations?)$/i;

const files = projectFiles();
const listed = new Set(files.get(listPath)?.split('\n'));
const places = new Map<string, Passage & { readonly path: string }>();
for (const [path, text] of files) {
  if (notProse.test(path)) continue;
  for (const passage of proseOf(path, text)) {
    for (const word of wordsOf(passage.text)) if (!places.has(word)) places.set(word, { ...passage, path });
  }
}

if ((await findTool('hunspell')) === null) {
  console.log('hunspell is not installed, so spelling is not checked; apt-get install hunspell hunspell-en-gb');
  process.exitCode = skippedExitCode;
} else {
  const words = [...places.keys()];
  const { stdout } = await exec('hunspell', ['-d', 'en_GB', '-i', 'UTF-8', '-l'], { input: words.join('\n') });
  const strange = new Set([...stdout.split('\n'), ...words.filter((word) => americanEnding.test(word))]);
  const faults = words.filter((word) => strange.has(word) && !listed.has(word.toLowerCase()));
  for (const word of faults) console.log(describe(word));
  if (faults.length > 0) {
    console.log(`Mend them, or put names and technical words, in small letters, into ${listPath}.`);
    process.exitCode = 1;
  }
}

function describe(word: string): string {
  const { path, text, line } = places.get(word) ?? { path: '', text: '', line: 0 };
  return `${path}:${line + text.slice(0, text.indexOf(word)).split('\n').length - 1}: ${word}`;
}
