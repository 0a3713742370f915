import type { z } from 'zod';
import { ImageBuilderError } from '../errors.ts';
import { check } from './faults.ts';

/** The query of a call, as its schema reads it. Throws `request.invalid` with every fault. */
export function parseQuery<Schema extends z.ZodType>(
  schema: Schema,
  query: Readonly<Record<string, string>>,
): z.infer<Schema> {
  const checked = check(schema, query);
  if (checked.faults === null) return checked.value;
  const { faults } = checked;
  throw new ImageBuilderError(
    'request.invalid',
    `the query has faults: ${faults.map((fault) => `${fault.path} ${fault.message}`).join('; ')}`,
    { faults },
  );
}
