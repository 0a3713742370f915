import { plain } from '../text.ts';
import { parseCopyright } from './copyright.ts';
import { spdxException, spdxLicence } from './licence-names.ts';

/** A licence, or several with operators between them, as an SPDX expression (annex D of the specification of SPDX 2.3). */
export interface Licence {
  readonly expression: string;
  /** `single` for an id, of SPDX or of `unknown`; `altered` for one with `+` or `WITH`; else the outermost operator. */
  readonly form: 'single' | 'altered' | 'AND' | 'OR';
  /** The licences in it that SPDX has no id for. */
  readonly unknown: readonly UnknownLicence[];
}

/** A licence that only copyright files name. Two packages may call different texts so. */
export interface UnknownLicence {
  /** Its id in expressions: `LicenseRef-public-domain`. */
  readonly reference: string;
  readonly name: string;
}

/** The licences of packages by the packages' names. All of a package's apply, some to a part of it only. */
export type Licences = ReadonlyMap<string, readonly Licence[]>;

const mostLicences = 200;
const longestStatement = 500;

/** Reads the licences from copyright files, by the packages' names. Packages without a machine-readable one are left out. */
export function readLicences(copyrights: ReadonlyMap<string, Uint8Array>): Licences {
  const licences = new Map<string, readonly Licence[]>();
  for (const [name, file] of copyrights) {
    const statements = parseCopyright(file);
    const found = statements === null ? null : parseLicences(statements);
    if (found !== null) licences.set(name, found);
  }
  return licences;
}

/**
 * The licences of statements such as `GPL-2+ or Artistic`, each once, in the order of their expressions; null where one is
 * empty, or they are too many or too long to be names.
 */
export function parseLicences(statements: readonly string[]): Licence[] | null {
  if (statements.some(({ length }) => length > longestStatement)) return null;
  const parsed = statements.map((statement) => parseStatement(plain(statement).split(' ').filter(isWord)));
  if (parsed.some((licences) => licences.length === 0)) return null;
  const all = new Map(parsed.flat().map((licence) => [licence.expression, licence]));
  if (all.size > mostLicences) return null;
  return [...all.values()].sort((a, b) => (a.expression < b.expression ? -1 : 1));
}

/** One expression for licences that all apply. */
export function allOf(licences: readonly Licence[]): string {
  return join('AND', licences).expression;
}

const isWord = (word: string) => word !== '';

/** The licences of a statement that all apply. A statement of another form counts as a name. */
function parseStatement(words: readonly string[]): readonly Licence[] {
  if (words.length === 0) return [];
  return parseWords(words, ', ') ?? [unknownLicence(words.join(' '))];
}

/**
 * Parses `A or B and C`, where `and` binds closer, and `A or B, and C`, where the comma stands for parentheses; null for
 * another form. `level` is what stands in front of operators.
 */
function parseWords(words: readonly string[], level: ', ' | ' '): readonly Licence[] | null {
  const choices: Licence[][] = [[]];
  let from = 0;
  for (let at = 0; at <= words.length; at += 1) {
    const operator = at === words.length ? 'end' : operators.get(words[at]?.toLowerCase() ?? '');
    if (operator === undefined) continue;
    const operand = words.slice(from, at);
    if (level === ', ' && operator !== 'end') {
      const last = operand.pop() ?? '';
      if (!last.endsWith(',')) continue;
      operand.push(last.slice(0, -1));
    }
    from = at + 1;
    const parsed = level === ', ' ? parseWords(operand, ' ') : parseName(operand);
    if (parsed === null) return null;
    choices.at(-1)?.push(...parsed);
    if (operator === 'OR') choices.push([]);
  }
  const [first = [], ...others] = choices;
  return others.length === 0
    ? first
    : [
        join(
          'OR',
          choices.map((licences) => join('AND', licences)),
        ),
      ];
}

const operators: ReadonlyMap<string, 'AND' | 'OR'> = new Map([
  ['and', 'AND'],
  ['or', 'OR'],
]);

function parseName(words: readonly string[]): readonly Licence[] | null {
  const name = words.join(' ');
  if (name === '' || name.includes(',')) return null;
  const place = words.findIndex((word) => word.toLowerCase() === 'with');
  if (place === -1) {
    const expression = spdxLicence(name);
    if (expression === null) return [unknownLicence(name)];
    return [{ expression, form: expression.endsWith('+') ? 'altered' : 'single', unknown: [] }];
  }
  const licence = spdxLicence(words.slice(0, place).join(' '));
  const hasWord = words.at(-1)?.toLowerCase() === 'exception';
  const exception = spdxException(words.slice(place + 1, hasWord ? -1 : undefined).join(' '));
  if (licence === null || exception === null) return [unknownLicence(name)];
  return [{ expression: `${licence} WITH ${exception}`, form: 'altered', unknown: [] }];
}

/** Names are the same in small letters and in capitals. */
function unknownLicence(name: string): Licence {
  const id = name
    .toLowerCase()
    .replaceAll('+', '-plus')
    .replace(/[^a-z0-9.]/g, '-');
  const reference = `LicenseRef-${id}`;
  return { expression: reference, form: 'single', unknown: [{ reference, name }] };
}

function join(operator: 'AND' | 'OR', licences: readonly Licence[]): Licence {
  const [only, ...others] = licences;
  if (only !== undefined && others.length === 0) return only;
  const inside = (licence: Licence) =>
    licence.form === 'AND' || licence.form === 'OR' ? `(${licence.expression})` : licence.expression;
  return {
    expression: licences.map(inside).join(` ${operator} `),
    form: operator,
    unknown: licences.flatMap(({ unknown }) => unknown),
  };
}
