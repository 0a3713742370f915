import type { z } from 'zod';
import type { RequestFault } from '../errors.ts';

/** The value that a schema makes of an input, or every fault of the input with its JSONPath. */
export function check<Schema extends z.ZodType>(
  schema: Schema,
  input: unknown,
): { readonly value: z.infer<Schema>; readonly faults: null } | { readonly faults: readonly RequestFault[] } {
  // Without the input, a value of the wrong type and a missing one look the same.
  const result = schema.safeParse(input, { reportInput: true, error: wording });
  return result.success
    ? { value: result.data, faults: null }
    : { faults: result.error.issues.flatMap((issue) => toFaults(issue, [])) };
}

const kinds: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  object: 'an object',
  string: 'a text',
};

/** The words for a fault whose schema has none of its own; undefined leaves them to zod. */
function wording(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_type') {
    const kind = kinds[issue.expected];
    return kind === undefined ? undefined : `must be ${kind}`;
  }
  if (issue.code !== 'too_big' && issue.code !== 'too_small') return undefined;
  const [bound, limit] = issue.code === 'too_big' ? ['at most', issue.maximum] : ['at least', issue.minimum];
  if (issue.origin === 'string') return `must have ${bound} ${limit} characters`;
  if (issue.origin === 'array') return `must hold ${bound} ${limit} entries`;
  return `must be ${bound} ${limit}`;
}

type Path = readonly PropertyKey[];

/** Unknown keys each get a place of their own; so do the members that no option of a union takes. */
function toFaults(issue: z.core.$ZodIssue, parent: Path): RequestFault[] {
  const path = [...parent, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: jsonPath([...path, key]), message: 'is not known here' }));
  }
  if (issue.input === undefined && path.length > 0) return [{ path: jsonPath(path), message: 'is missing' }];
  const shared = issue.code === 'invalid_union' ? sharedFaults(issue, path) : [];
  return shared.length > 0 ? shared : [{ path: jsonPath(path), message: issue.message }];
}

/** The faults of members that no option of the union takes as they are, with the reasons of all options. */
function sharedFaults({ errors }: z.core.$ZodIssueInvalidUnion, path: Path): RequestFault[] {
  const options = errors.map(
    (issues) =>
      new Map(issues.flatMap((issue) => toFaults(issue, path)).map((fault) => [fault.path, fault.message] as const)),
  );
  const own = jsonPath(path);
  return [...(options[0]?.keys() ?? [])]
    .filter((place) => place !== own && options.every((option) => option.has(place)))
    .map((place) => ({
      path: place,
      message: [...new Set(options.map((option) => option.get(place)))].join(' or '),
    }));
}

/** Longest part of a member's name that a path shows. */
const maximumNameCharacters = 64;

function jsonPath(path: Path): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    const name = String(part).slice(0, maximumNameCharacters);
    return /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) ? `${text}.${name}` : `${text}[${JSON.stringify(name)}]`;
  }, '$');
}
