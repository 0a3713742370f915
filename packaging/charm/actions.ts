import { z } from 'zod';
import { Name, Text } from './names.ts';

/** Words that charmcraft refuses as names of actions: keywords of Python that are names by the other rules. */
const keywords =
  'and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield'.split(
    ' ',
  );

const jsonTypes = ['string', 'integer', 'number', 'boolean', 'array', 'object'] as const;

/** JSON Schema of a parameter. Juju refuses references. */
const Parameter = z
  .looseObject({ type: z.enum(jsonTypes), description: Text })
  .refine((schema) => !/"\$(?:ref|schema)":/.test(JSON.stringify(schema)), 'must not have $ref or $schema');

const Action = z
  .strictObject({
    description: Text,
    params: z.record(Name, Parameter).optional(),
    required: z.array(z.string()).optional(),
    additionalProperties: z.boolean(),
  })
  .superRefine(({ params, required }, context) => {
    for (const [index, name] of (required ?? []).entries()) {
      if (params?.[name] === undefined) {
        context.addIssue({
          code: 'custom',
          path: ['required', index],
          message: `must be a parameter, and ${name} is none`,
        });
      }
    }
  });

export const Actions = z.record(
  Name.refine((name) => !keywords.includes(name), 'must not be a keyword of Python'),
  Action,
);
