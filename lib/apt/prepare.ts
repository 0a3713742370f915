import type { DebconfSelection } from '../api/debconf.ts';
import { ImageBuilderError } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import type { ImageFacts } from './facts.ts';
import { runScript } from './script.ts';

export interface Preparation {
  readonly foreignArchitectures: readonly string[];
  readonly selections: readonly DebconfSelection[];
}

/**
 * Enables foreign architectures in an image, and answers questions of packages in advance. Resolves with the facts that
 * hold then. Throws `apt.package` where the image's dpkg or debconf does not take them.
 */
export async function prepareApt(
  runner: ScriptRunner,
  facts: ImageFacts,
  { foreignArchitectures, selections }: Preparation,
): Promise<ImageFacts> {
  const known = [facts.architecture, ...facts.foreignArchitectures];
  const fresh = [...new Set(foreignArchitectures)].filter((name) => !known.includes(name));
  if (fresh.length === 0 && selections.length === 0) return facts;
  const lines = await runScript(runner, 'prepare', {
    files: {
      architectures: fresh.map((name) => `${name}\n`).join(''),
      selections: selections
        .map(({ owner, question, type, value }) => `${owner} ${question} ${type} ${value}\n`)
        .join(''),
    },
    timeoutMs: 120_000,
  });
  const reason = lines.findLast((line) => line.startsWith('unprepared: '));
  if (reason !== undefined) throw new ImageBuilderError('apt.package', reason.slice('unprepared: '.length));
  return { ...facts, foreignArchitectures: [...facts.foreignArchitectures, ...fresh] };
}
