import { ImageBuilderError } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import { readKnowledge } from './knowledge.ts';
import { parseMessages } from './message.ts';
import { filesWithoutPriority } from './pins.ts';

const unreadable = /preferences file|^Unable to parse package file|^No priority \(or zero\) specified for pin/;

/**
 * Throws `apt.repository` where apt plans nothing because it cannot read a file of the image: its pins, or its notes of
 * which packages are automatic. `lines` are those of the plan.
 */
export async function assertReadable(runner: ScriptRunner, lines: readonly string[]): Promise<void> {
  const errors = parseMessages(lines).flatMap(({ level, text }) => (level === 'error' ? [text] : []));
  const said = [...new Set(errors.filter((text) => unreadable.test(text)))].join('; ');
  if (said === '') return;
  throw new ImageBuilderError(
    'apt.repository',
    `apt in the base image cannot read one of its own files${await whichOf(runner, said)}: ${said}; mend that file in the base image, or take it out`,
    { logTail: lines.slice(-20) },
  );
}

/** The files that apt does not name itself. */
async function whichOf(runner: ScriptRunner, said: string): Promise<string> {
  if (!said.startsWith('No priority')) return '';
  const { pins } = await readKnowledge(runner, [], { allNames: false });
  return ` (${filesWithoutPriority(pins) ?? '/etc/apt/preferences or one in /etc/apt/preferences.d'})`;
}
