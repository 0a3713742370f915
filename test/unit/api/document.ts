/** Looks into the documents that describe the API. */

export interface Schema {
  readonly description?: string;
  readonly examples?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly [key: string]: unknown;
}

/** Every field of the schemas, also of nested ones, as `Schema.field`. */
export function fieldsOf(schemas: Readonly<Record<string, unknown>>): [string, Schema][] {
  const found: [string, Schema][] = [];
  const collect = (name: string, value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    const { properties, examples: _, default: __, ...others } = value as Schema;
    for (const [key, inner] of Object.entries(properties ?? {})) {
      found.push([`${name}.${key}`, inner]);
      collect(`${name}.${key}`, inner);
    }
    for (const inner of Object.values(others)) collect(name, inner);
  };
  for (const [name, schema] of Object.entries(schemas)) collect(name, schema);
  return found;
}

/** Calls `visit` with every member of a document, however deep. */
export function walk(value: unknown, visit: (key: string, value: unknown) => void): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, inner] of Object.entries(value)) {
    visit(key, inner);
    walk(inner, visit);
  }
}

/** The value that a local reference leads to, such as `#/components/schemas/Problem`; undefined where it leads nowhere. */
export function follow(document: unknown, reference: string): unknown {
  const [root, ...names] = reference.split('/').map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
  if (root !== '#') return undefined;
  return names.reduce<unknown>(
    (value, name) =>
      (typeof value === 'object' && value !== null ? Object.entries(value) : []).find(([key]) => key === name)?.[1],
    document,
  );
}
