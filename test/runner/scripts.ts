/** A shell script that is written as text in a TypeScript file. */
export interface EmbeddedScript {
  readonly name: string;
  readonly text: string;
}

/** The shell of a script file; null for any other file. Scripts without a first line for the kernel are POSIX. */
export function shellOf(path: string, text: string): 'dash' | 'bash' | null {
  const [, interpreter] = /^#!\S*\/(\w+)/.exec(text) ?? [];
  if (interpreter === 'bash') return 'bash';
  return interpreter === 'sh' || path.endsWith('.sh') ? 'dash' : null;
}

/**
 * The shell scripts of a TypeScript file: constants at its top level whose names end in `script` and whose value is one
 * template literal of several lines. Each `${…}` in them counts as one word.
 */
export function embeddedScripts(source: string): EmbeddedScript[] {
  const constants = source.matchAll(/^(?:export )?const (\w*[sS]cript) = `((?:\\.|[^`\\])*\n(?:\\.|[^`\\])*)`/gm);
  return [...constants].map(([, name = '', literal = '']) => ({
    name,
    text: literal.replace(/\\(.)|\$\{[^}]*\}/g, (_, escaped?: string) => escaped ?? '0'),
  }));
}
