import { z } from 'zod';
import { Name, Text } from './names.ts';

/** Options of a charm (`juju config`): each with its type, and a default of that type or none. */
const option = <Type extends string, Default extends z.ZodType>(type: Type, fallback: Default) =>
  z.strictObject({ type: z.literal(type), description: Text, default: fallback.optional() });

const Option = z.discriminatedUnion(
  'type',
  [
    option('string', z.string()),
    option('int', z.int()),
    option('float', z.number()),
    option('boolean', z.boolean()),
    // The id of a secret is that of one model.
    option('secret', z.never({ error: 'must not be given: the id of a secret is that of one model' })),
  ],
  { error: (issue) => (issue.code === 'invalid_union' ? 'must be string, int, float, boolean or secret' : undefined) },
);

export const Options = z.record(Name, Option);
