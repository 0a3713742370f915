import { readFileSync } from 'node:fs';

/** Options of the charm that are settings or secrets of the program, by their names. Generated from the program's own lists. */
export interface OptionTable {
  readonly settings: Readonly<Record<string, { readonly variable: string }>>;
  readonly secrets: Readonly<Record<string, { readonly file: string } | { readonly variable: string }>>;
}

export const optionTable = JSON.parse(readFileSync(new URL('options.json', import.meta.url), 'utf8')) as OptionTable;
