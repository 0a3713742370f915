import { createScanner, SyntaxKind } from 'typescript/unstable/ast';

export interface Token {
  readonly kind: SyntaxKind;
  readonly text: string;
  /** Index of its first character. */
  readonly start: number;
}

/** The tokens of a TypeScript file, comments and blanks among them. */
export function* tokensOf(text: string): Generator<Token> {
  const scanner = createScanner(false, undefined, text);
  /** For each open brace, whether it stands within a template string. */
  const braces: boolean[] = [];
  let before: SyntaxKind = SyntaxKind.Unknown;
  for (let kind = scanner.scan(); kind !== SyntaxKind.EndOfFile; kind = scanner.scan()) {
    if ((kind === SyntaxKind.SlashToken || kind === SyntaxKind.SlashEqualsToken) && !endsOperand(before)) {
      kind = scanner.reScanSlashToken();
    }
    if (kind === SyntaxKind.CloseBraceToken && braces.pop() === true) kind = scanner.reScanTemplateToken(false);
    if (kind === SyntaxKind.OpenBraceToken) braces.push(false);
    if (kind === SyntaxKind.TemplateHead || kind === SyntaxKind.TemplateMiddle) braces.push(true);
    if (!isTrivia(kind)) before = kind;
    yield { kind, text: scanner.getTokenText(), start: scanner.getTokenStart() };
  }
}

/** Whether a token is a comment or a blank. */
export function isTrivia(kind: SyntaxKind): boolean {
  return isComment(kind) || kind === SyntaxKind.WhitespaceTrivia || kind === SyntaxKind.NewLineTrivia;
}

export function isComment(kind: SyntaxKind): boolean {
  return kind === SyntaxKind.SingleLineCommentTrivia || kind === SyntaxKind.MultiLineCommentTrivia;
}

/** Whether a value ends with the token, so that a slash behind it divides. */
function endsOperand(kind: SyntaxKind): boolean {
  return (
    kind === SyntaxKind.Identifier ||
    kind === SyntaxKind.NumericLiteral ||
    kind === SyntaxKind.CloseParenToken ||
    kind === SyntaxKind.CloseBracketToken ||
    kind === SyntaxKind.CloseBraceToken ||
    kind === SyntaxKind.ThisKeyword
  );
}
