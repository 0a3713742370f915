import type { z } from 'zod';

/** How settings are declared: one line each, in the group of what they are for. */

export interface Setting<Schema extends z.ZodType = z.ZodType> {
  /** Name of the environment variable. */
  readonly variable: string;
  /** Reads the text of the variable. */
  readonly schema: Schema;
  /** The default, as text. It holds where the variable is missing or empty. */
  readonly fallback: string;
  /** For the table in README.md (`npm run docs`). */
  readonly meaning: string;
}

/** The settings of a group, by the names that the code has for them. */
export type Declarations = Readonly<Record<string, Setting>>;

/** The values of a group. */
export type SettingsOf<Group extends Declarations> = {
  readonly [Name in keyof Group]: z.output<Group[Name]['schema']>;
};

export function setting<Schema extends z.ZodType>(
  variable: string,
  schema: Schema,
  fallback: string,
  meaning: string,
): Setting<Schema> {
  return { variable, schema, fallback, meaning };
}
