import { SyntaxKind } from 'typescript/unstable/ast';
import { isTrivia, tokensOf } from '../../../runner/tokens.ts';

export interface FoundExpression {
  readonly line: number;
  readonly source: string;
  readonly flags: string;
}

/** The regular expressions written in a TypeScript file, and the lines on which others are put together. */
export function findExpressions(text: string): { found: FoundExpression[]; builtOnLines: number[] } {
  const found: FoundExpression[] = [];
  const builtOnLines: number[] = [];
  let before: SyntaxKind = SyntaxKind.Unknown;
  for (const { kind, text: literal, start } of tokensOf(text)) {
    if (isTrivia(kind)) continue;
    const line = () => text.slice(0, start).split('\n').length;
    if (kind === SyntaxKind.RegularExpressionLiteral) {
      const end = literal.lastIndexOf('/');
      found.push({ line: line(), source: literal.slice(1, end), flags: literal.slice(end + 1) });
    }
    if (kind === SyntaxKind.Identifier && literal === 'RegExp' && before === SyntaxKind.NewKeyword) {
      builtOnLines.push(line());
    }
    before = kind;
  }
  return { found, builtOnLines };
}
