import { z } from 'zod';
import { field } from './field.ts';

/** Answers to the questions of packages, as debconf-set-selections(1) takes them. */

const name = /^[a-zA-Z0-9][a-zA-Z0-9+._-]{0,127}$/;
const question = /^[a-zA-Z0-9][a-zA-Z0-9+._/-]{0,255}$/;
/** Types of debconf-devel(7), and `seen`, by which an answer is marked. */
const types = [
  'string',
  'boolean',
  'select',
  'multiselect',
  'password',
  'text',
  'note',
  'title',
  'error',
  'seen',
] as const;
const maximumValueCharacters = 4096;

// No fault shows a value: it may be a password.
const Selection = z.strictObject({
  owner: field(
    z.string().regex(name, { error: 'must be the name of the package that owns the question' }),
    'Name of the package that owns the question.',
    'tzdata',
  ),
  question: field(
    z.string().regex(question, { error: 'must be the name of a question, such as "postfix/mailname"' }),
    'Name of the question.',
    'tzdata/Areas',
  ),
  type: field(
    z.enum(types, { error: `must be a type of debconf: ${types.join(', ')}` }),
    'Type of the question’s template, or `seen`, by which an answer is marked.',
    'select',
  ),
  value: field(
    z
      .string({ error: 'must be a text' })
      .max(maximumValueCharacters, { error: `must have at most ${maximumValueCharacters} characters` })
      .refine((text) => !/\p{Cc}|[\u2028\u2029]/u.test(text), { error: 'must be one line without control characters' }),
    'The answer.',
    'Europe',
  ),
});

/** One answer. debconf knows it by its question; the type is the template's. */
export type DebconfSelection = z.infer<typeof Selection>;

const forms = 'must be a line "owner question type value", or an object with these members';

/** The members of a line, with one blank before the value, which may be empty or begin with blanks. */
function membersOf(line: string): unknown {
  const [, owner, asked, type, value = ''] = /^(\S+)[ \t]+(\S+)[ \t]+(\S+)(?:[ \t](.*))?$/s.exec(line) ?? [];
  return owner === undefined ? null : { owner, question: asked, type, value };
}

const Line = z
  .string()
  .max(5_000)
  .transform((line, context): DebconfSelection => {
    const checked = Selection.safeParse(membersOf(line));
    if (checked.success) return checked.data;
    context.addIssue({ code: 'custom', message: forms, input: null });
    return z.NEVER;
  });

/** Why an entry is none, in words that do not show it. */
function selectionFault(input: unknown): string {
  if (typeof input === 'string' && input.length > 5_000) return 'must have at most 5000 characters';
  const members = typeof input === 'string' ? membersOf(input) : input;
  const [fault] = Selection.safeParse(members).error?.issues ?? [];
  if (fault === undefined || members === null || typeof members !== 'object') return forms;
  const place = fault.path.join('.');
  if (fault.code === 'unrecognized_keys') return `${forms}, and with no others`;
  return place in members ? `${forms}; its ${place} ${fault.message}` : `${forms}; its ${place} is missing`;
}

export const DebconfSelections = z
  .array(z.union([Line, Selection], { error: ({ input }) => selectionFault(input) }), { error: 'must be a list' })
  .max(1024, { error: 'must hold at most 1024 answers' });
