import { SyntaxKind } from 'typescript/unstable/ast';
import { isComment, tokensOf } from './tokens.ts';

/** One passage for readers in a file: a page, a comment, a message, the title of a test. */
export interface Passage {
  readonly text: string;
  readonly line: number;
}

/** The passages of a file, without the names that stand in backticks. */
export function proseOf(path: string, text: string): Passage[] {
  if (path.endsWith('.md')) return [{ line: 1, text: withoutCode(text).replace(/<source [^>]*>/g, '') }];
  if (!/\.m?ts$|\.mjs$/.test(path)) return hashComments(text);
  return [...tokensOf(text)].flatMap(({ kind, text: token, start }) => {
    const read = isComment(kind) ? withoutCode(token) : isString(kind) ? stringProse(token) : '';
    return read === '' ? [] : [{ line: lineOf(text, start), text: read }];
  });
}

/** The words in a passage. Parts with a digit, a sign or a capital within are names, not words. */
export function wordsOf(text: string): string[] {
  return text
    .replace(/\]\([^)\s]*\)/g, ']')
    .split(/[\s|]+/)
    .flatMap((part) => (/[/\\=_$@<>.:{](?=[^\s)\]"”,])/.test(part) ? [] : part.split(/[-–—…,+]/)))
    .map((part) => part.replace(/^[^\p{L}\d]+|[^\p{L}\d]+$/gu, '').replace(/['’]s$/, ''))
    .filter((part) => /^\p{L}\p{Ll}[\p{Ll}'’]*$/u.test(part))
    .map((part) => part.replaceAll('’', "'"));
}

function isString(kind: SyntaxKind): boolean {
  return kind === SyntaxKind.StringLiteral || isTemplate(kind);
}

function isTemplate(kind: SyntaxKind): boolean {
  return (
    kind === SyntaxKind.NoSubstitutionTemplateLiteral ||
    kind === SyntaxKind.TemplateHead ||
    kind === SyntaxKind.TemplateMiddle ||
    kind === SyntaxKind.TemplateTail
  );
}

/** A string of several words on one line; others are names, values and scripts. */
function stringProse(token: string): string {
  const inner = token.replace(/^\}[^\s`]*|\S*\$\{$/g, '').replace(/\\+(?:u[\da-f]{4}|x[\da-f]{2}|.)/g, ' ');
  return / \S* /.test(inner) && !inner.includes('\n') ? inner : '';
}

/** Line breaks stay, so that lines can still be counted. */
function withoutCode(text: string): string {
  return text.replace(/^```[\s\S]*?^```|`[^`]*`/gm, (code) => code.replace(/[^\n]+/g, ' '));
}

function hashComments(text: string): Passage[] {
  return text.split('\n').flatMap((line, index) => {
    const comment = /(?:^|\s)#(?![!:])(.*)/.exec(line)?.[1];
    return comment === undefined ? [] : [{ line: index + 1, text: withoutCode(comment) }];
  });
}

function lineOf(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}
