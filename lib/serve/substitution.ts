import { ImageBuilderError } from '../errors.ts';

/**
 * Replaces `${NAME}` and `${NAME:-default}` in the whole text, comments included, as faas-cli does to stack.yml before
 * it reads the YAML. As there, `:-`, `-`, `:=` and `=` mean the same, an empty variable counts as unset, defaults may
 * hold substitutions, and `$${` stands for a literal `${`. The string functions of faas-cli (`${NAME^^}` and the like)
 * are refused with `config.invalid` rather than guessed at.
 */
export function substitute(text: string, environment: Readonly<Record<string, string | undefined>>): string {
  return expand(text, 0, environment, false).value;
}

function expand(
  text: string,
  start: number,
  environment: Readonly<Record<string, string | undefined>>,
  nested: boolean,
): { value: string; end: number } {
  let value = '';
  let position = start;
  while (position < text.length) {
    if (nested && text[position] === '}') return { value, end: position };
    if (text.startsWith('$${', position)) {
      value += '${';
      position += 3;
      continue;
    }
    if (!text.startsWith('${', position)) {
      value += text[position];
      position += 1;
      continue;
    }
    const head = /^\$\{([A-Za-z_][A-Za-z0-9_]*)(:-|:=|-|=)?/.exec(text.slice(position, position + 512));
    const name = head?.[1];
    if (head === null || name === undefined) throw unsupported(text, position);
    let end = position + head[0].length;
    let fallback = '';
    if (head[2] !== undefined) ({ value: fallback, end } = expand(text, end, environment, true));
    if (text[end] !== '}') throw unsupported(text, position);
    const set = environment[name];
    value += set === undefined || set === '' ? fallback : set;
    position = end + 1;
  }
  return { value, end: position };
}

function unsupported(text: string, position: number): ImageBuilderError {
  const line = text.slice(0, position).split('\n').length;
  return new ImageBuilderError(
    'config.invalid',
    `line ${line}: only \${NAME} and \${NAME:-default} can be substituted; write $\${ for a literal \${`,
  );
}
