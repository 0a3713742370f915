import type { z } from 'zod';

/**
 * A field of the API, described for callers: the documents of OpenAPI and AsyncAPI carry the description and the example,
 * which is a value as it is sent.
 */
export function field<Schema extends z.ZodType>(schema: Schema, description: string, example: z.input<Schema>): Schema {
  return schema.meta({ description, examples: [example] });
}
