import * as fc from 'fast-check';
import { z } from 'zod';

/** The JSON Schema that zod makes of the schemas in lib/api, as far as they use it. */
interface JsonSchema {
  readonly type?: string;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly minItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly format?: string;
}

/** Longer lists show nothing that shorter ones do not. */
const longestList = 4;

/**
 * Values that a schema takes, as a caller would write them. `refine` adds the conditions that the schema cannot
 * express.
 */
export function fromSchema<Output>(
  schema: z.ZodType<unknown, Output>,
  refine: Readonly<Record<string, fc.Arbitrary<unknown>>> = {},
): fc.Arbitrary<Output> {
  const json = z.toJSONSchema(schema, { io: 'input' }) as JsonSchema;
  return arbitrary(json, '', refine) as fc.Arbitrary<Output>;
}

function arbitrary(
  schema: JsonSchema,
  path: string,
  refine: Readonly<Record<string, fc.Arbitrary<unknown>>>,
): fc.Arbitrary<unknown> {
  const given = refine[path];
  if (given !== undefined) return given;
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.const !== undefined) return fc.constant(schema.const);
  const options = schema.anyOf ?? schema.oneOf;
  if (options !== undefined) return fc.oneof(...options.map((each) => arbitrary(each, path, refine)));
  switch (schema.type) {
    case 'null':
      return fc.constant(null);
    case 'boolean':
      return fc.boolean();
    case 'integer':
      return fc.integer({ min: schema.minimum ?? 0, max: schema.maximum ?? Number.MAX_SAFE_INTEGER });
    case 'array': {
      const { items = {}, minItems: minLength = 0 } = schema;
      return fc.array(arbitrary(items, `${path}[]`, refine), { minLength, maxLength: longestList });
    }
    case 'object': {
      const { properties = {}, required = [] } = schema;
      const members: Record<string, fc.Arbitrary<unknown>> = {};
      for (const [name, each] of Object.entries(properties)) members[name] = arbitrary(each, `${path}.${name}`, refine);
      return fc.record(members, { requiredKeys: [...required] });
    }
    case 'string':
      return text(schema);
    default:
      throw new Error(`no values for ${path} are known: ${JSON.stringify(schema)}`);
  }
}

function text({ format, pattern, minLength = 0, maxLength = 256 }: JsonSchema): fc.Arbitrary<string> {
  const made =
    format === 'uri'
      ? fc.webUrl({ withQueryParameters: true })
      : pattern === undefined
        ? fc.string({ unit: 'grapheme', minLength, maxLength })
        : fc.stringMatching(new RegExp(pattern));
  return made.filter((value) => value.length >= minLength && value.length <= maxLength);
}
