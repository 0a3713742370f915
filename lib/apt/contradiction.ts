import type { ScriptRunner } from '../guest/guest.ts';
import { someOf } from '../text.ts';
import type { PpaSource } from './launchpad.ts';
import { parseMessages, repositoryUrl } from './message.ts';
import { runScript } from './script.ts';

/** Two sources of one repository that say different things of it, mostly of its keys: apt takes neither. */

const contradiction = 'Conflicting values set for option ';

/** The files with the sources of the repository that apt finds a contradiction about; none where it finds none. */
export async function readContradiction(runner: ScriptRunner, lines: readonly string[]): Promise<readonly string[]> {
  const said = parseMessages(lines).find(({ text }) => text.startsWith(contradiction))?.text ?? '';
  const url = repositoryUrl(said);
  if (url === null) return [];
  const files = await runScript(runner, 'sources-of', { arguments: [url], timeoutMs: 60_000 });
  return [...new Set(files)];
}

/** In words, how the sources contradict each other; empty for other messages. `ppa` is the one that the message is about. */
export function explainContradiction(text: string, files: readonly string[], ppa: PpaSource | null): string {
  if (!text.startsWith(contradiction)) return '';
  const isAboutKeys = text.startsWith(`${contradiction}Signed-By`);
  if (ppa === null) {
    const place = files.length === 0 ? '/etc/apt/sources.list.d' : someOf(files);
    return `: two sources of the base image ${isAboutKeys ? 'name different keys for it' : 'have different options for it'}; take one of them out there (${place})`;
  }
  // The build's own file has the name that add-apt-repository gives it, and the newer of the two forms.
  const stem = `/${ppa.ppa.owner}-ubuntu-${ppa.ppa.name}-`.replaceAll('+', '_');
  const added = files.filter((file) => file.includes(stem)).sort();
  const own = files.filter((file) => file !== added.at(-1));
  const place = own.length === 0 ? '/etc/apt/sources.list.d' : someOf(own);
  return `: the base image has a source of its own for it, with ${isAboutKeys ? 'its key in another place' : 'other options'}; take that source out of ${place} there, or the PPA out of ppa_list`;
}

/** A message without the keys that sources hold themselves: apt shows all of them. */
export function withoutKeys(text: string): string {
  const [first = '', ...others] = text.split('-----BEGIN ');
  return others.reduce((said, key) => {
    const end = key.indexOf(armorEnd);
    return `${said}a key in the source itself${end === -1 ? '' : key.slice(end + armorEnd.length)}`;
  }, first);
}

const armorEnd = '-----END PGP PUBLIC KEY BLOCK-----';
