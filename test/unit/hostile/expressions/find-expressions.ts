import { createScanner, SyntaxKind } from 'typescript/unstable/ast';

export interface FoundExpression {
  readonly line: number;
  readonly source: string;
  readonly flags: string;
}

/** The regular expressions written in a TypeScript file, and the lines on which others are put together. */
export function findExpressions(text: string): { found: FoundExpression[]; builtOnLines: number[] } {
  const scanner = createScanner(true, undefined, text);
  const found: FoundExpression[] = [];
  const builtOnLines: number[] = [];
  /** For each open brace, whether it stands within a template string. */
  const braces: boolean[] = [];
  const line = () => text.slice(0, scanner.getTokenStart()).split('\n').length;
  let before: SyntaxKind = SyntaxKind.Unknown;
  for (let token = scanner.scan(); token !== SyntaxKind.EndOfFile; token = scanner.scan()) {
    if ((token === SyntaxKind.SlashToken || token === SyntaxKind.SlashEqualsToken) && !endsOperand(before)) {
      token = scanner.reScanSlashToken();
      const literal = scanner.getTokenText();
      const end = literal.lastIndexOf('/');
      found.push({ line: line(), source: literal.slice(1, end), flags: literal.slice(end + 1) });
    }
    if (token === SyntaxKind.CloseBraceToken && braces.pop() === true) token = scanner.reScanTemplateToken(false);
    if (token === SyntaxKind.OpenBraceToken) braces.push(false);
    if (token === SyntaxKind.TemplateHead || token === SyntaxKind.TemplateMiddle) braces.push(true);
    if (token === SyntaxKind.Identifier && scanner.getTokenText() === 'RegExp') {
      if (before === SyntaxKind.NewKeyword) builtOnLines.push(line());
    }
    before = token;
  }
  return { found, builtOnLines };
}

/** Whether a value ends with the token, so that a slash behind it divides. */
function endsOperand(token: SyntaxKind): boolean {
  return (
    token === SyntaxKind.Identifier ||
    token === SyntaxKind.NumericLiteral ||
    token === SyntaxKind.CloseParenToken ||
    token === SyntaxKind.CloseBracketToken ||
    token === SyntaxKind.CloseBraceToken ||
    token === SyntaxKind.ThisKeyword
  );
}
