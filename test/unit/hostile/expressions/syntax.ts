/**
 * Regular expressions of JavaScript (ECMA-262, 22.2.1) as trees: the part of the syntax that decides how they
 * backtrack.
 */
export type Expression =
  /** One character that `source` matches. */
  | { readonly kind: 'character'; readonly source: string }
  | { readonly kind: 'sequence'; readonly items: readonly Expression[] }
  | { readonly kind: 'choice'; readonly options: readonly Expression[] }
  | { readonly kind: 'repetition'; readonly body: Expression; readonly minimum: number; readonly maximum: number }
  /** `^` */
  | { readonly kind: 'start' }
  /** `$`, `\b`, lookaheads and lookbehinds: passes or fails where it stands; `body` is what it tries there. */
  | { readonly kind: 'assertion'; readonly body: Expression | null };

/**
 * Throws for back-references and for lookbehinds with a repetition, which are never linear, or for which that is hard
 * to decide.
 */
export function parseExpression(source: string): Expression {
  let position = 0;
  const eat = (text: string): boolean => {
    const there = source.startsWith(text, position);
    if (there) position += text.length;
    return there;
  };
  const eatMatch = (pattern: RegExp): RegExpExecArray | null => {
    const sticky = new RegExp(pattern, 'y');
    sticky.lastIndex = position;
    const match = sticky.exec(source);
    if (match !== null) position += match[0].length;
    return match;
  };

  const choice = (): Expression => {
    const options = [sequence()];
    while (eat('|')) options.push(sequence());
    return options.length === 1 && options[0] !== undefined ? options[0] : { kind: 'choice', options };
  };
  const sequence = (): Expression => {
    const items: Expression[] = [];
    while (position < source.length && source[position] !== '|' && source[position] !== ')') items.push(term());
    return { kind: 'sequence', items };
  };
  const term = (): Expression => {
    const body = atom();
    const quantifier = eatMatch(/([*+?]|\{(\d+)(,?)(\d*)\})\??/);
    if (quantifier === null) return body;
    const [, mark = '', least = '', comma = '', most = ''] = quantifier;
    if (mark === '*') return { kind: 'repetition', body, minimum: 0, maximum: Number.POSITIVE_INFINITY };
    if (mark === '+') return { kind: 'repetition', body, minimum: 1, maximum: Number.POSITIVE_INFINITY };
    if (mark === '?') return { kind: 'repetition', body, minimum: 0, maximum: 1 };
    const maximum = comma === '' ? Number(least) : most === '' ? Number.POSITIVE_INFINITY : Number(most);
    return { kind: 'repetition', body, minimum: Number(least), maximum };
  };
  const atom = (): Expression => {
    if (eat('^')) return { kind: 'start' };
    if (eat('$') || eat('\\b') || eat('\\B')) return { kind: 'assertion', body: null };
    if (eat('(')) return group();
    if (/^\\([1-9]|k<)/.test(source.slice(position, position + 3))) throw new Error('a back-reference');
    const one = eatMatch(/\[(?:\\[\s\S]|[^\]\\])*\]|\\[pP]\{[^}]*\}|\\u\{[^}]*\}|\\u.{4}|\\x..|\\c.|\\?[\s\S]/u);
    if (one === null) throw new Error(`nothing to read at ${position}`);
    return { kind: 'character', source: one[0] };
  };
  const group = (): Expression => {
    const opening = eatMatch(/\?(<?[=!]|:|<[^>]+>)/)?.[1] ?? ':';
    const body = choice();
    if (!eat(')')) throw new Error(`a group is not closed at ${position}`);
    if (opening === '=' || opening === '!') return { kind: 'assertion', body };
    if (opening !== '<=' && opening !== '<!') return body;
    if (repeats(body)) throw new Error('a lookbehind with a repetition');
    return { kind: 'assertion', body: null };
  };

  const expression = choice();
  if (position !== source.length) throw new Error(`something is left at ${position}`);
  return expression;
}

/**
 * Whether something longer than a character may be repeated without end. The matcher keeps a note of each turn on its
 * stack, which a text of some MiB overflows.
 */
export function repeatsGroups(expression: Expression): boolean {
  switch (expression.kind) {
    case 'repetition':
      return (expression.body.kind !== 'character' && expression.maximum > 1000) || repeatsGroups(expression.body);
    case 'sequence':
      return expression.items.some(repeatsGroups);
    case 'choice':
      return expression.options.some(repeatsGroups);
    case 'assertion':
      return expression.body !== null && repeatsGroups(expression.body);
    default:
      return false;
  }
}

function repeats(expression: Expression): boolean {
  switch (expression.kind) {
    case 'repetition':
      return true;
    case 'sequence':
      return expression.items.some(repeats);
    case 'choice':
      return expression.options.some(repeats);
    case 'assertion':
      return expression.body !== null && repeats(expression.body);
    default:
      return false;
  }
}
