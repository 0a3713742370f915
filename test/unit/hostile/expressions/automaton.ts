import type { Expression } from './syntax.ts';

/**
 * The positions of a regular expression (Glushkov's automaton): each is one character of it, and knows which may come
 * next. Position 0 is the start; position 1 stands for the characters that an expression without `^` skips.
 */
export interface Automaton {
  readonly positions: readonly Position[];
  /** One character for each set of positions that some character fits. */
  readonly alphabet: readonly string[];
}

export interface Position {
  readonly next: readonly number[];
  /** Positions that can come next in more than one way: each way is tried. */
  readonly nextTwice: readonly number[];
  /** The whole expression matches here, whatever follows. */
  readonly accepts: boolean;
  readonly fits: (character: string) => boolean;
}

/** Repetitions of more than this count as endless. */
const longestWrittenOut = 100;

interface State {
  /** The characters that the state reads; null for one that only leads on. */
  readonly source: string | null;
  readonly ways: { readonly to: number; readonly sure: boolean }[];
}

export function buildAutomaton(expression: Expression, flags: string): Automaton {
  const states: State[] = [];
  const add = (source: string | null = null): number => states.push({ source, ways: [] }) - 1;
  const join = (from: number, to: number, sure = true): void => {
    states[from]?.ways.push({ to, sure });
  };

  /** Adds what `from` must pass to match; returns where that ends. `atStart` is whether `^` can hold there. */
  const build = (node: Expression, from: number, atStart: boolean): number => {
    switch (node.kind) {
      case 'character': {
        const read = add(node.source);
        join(from, read);
        return read;
      }
      case 'sequence':
        return node.items.reduce((place, item) => build(item, place, atStart), from);
      case 'choice': {
        const end = add();
        for (const option of node.options) join(build(option, from, atStart), end);
        return end;
      }
      case 'start': {
        const end = add();
        if (atStart || flags.includes('m')) join(from, end, false);
        return end;
      }
      case 'assertion': {
        // Where the body leads to is never the end of a match.
        if (node.body !== null) build(node.body, from, atStart);
        const end = add();
        join(from, end, false);
        return end;
      }
      case 'repetition':
        return repeat(node, from, atStart);
    }
  };
  const repeat = (
    { body, minimum, maximum }: Expression & { readonly kind: 'repetition' },
    from: number,
    atStart: boolean,
  ): number => {
    const endless = maximum > longestWrittenOut;
    const written = Math.min(minimum, longestWrittenOut);
    let place = from;
    for (let count = 0; count < written; count++) place = build(body, place, atStart);
    const end = add();
    if (endless) {
      const loop = add();
      join(place, loop);
      join(build(body, loop, atStart), loop);
      join(loop, end);
      return end;
    }
    join(place, end);
    for (let count = written; count < maximum; count++) {
      place = build(body, place, atStart);
      join(place, end);
    }
    return end;
  };

  const start = add('');
  const skipped = add('[\\s\\S]');
  const accept = add();
  join(build(expression, start, true), accept);
  if (!flags.includes('y')) {
    join(start, skipped);
    join(skipped, skipped);
    join(build(expression, skipped, false), accept);
  }
  return positionsOf(states, accept, flags);
}

/** Leaves out the states that read nothing, and counts the ways that lead through them. */
function positionsOf(states: readonly State[], accept: number, flags: string): Automaton {
  const numbers = new Map<number, number>();
  for (const [index, { source }] of states.entries()) if (source !== null) numbers.set(index, numbers.size);
  const known = new Map<string, (character: string) => boolean>();
  const positions: Position[] = [];
  for (const index of numbers.keys()) {
    const counts = new Map<number, number>();
    let accepts = false;
    const path: number[] = [];
    const walk = (from: number, sure: boolean): void => {
      if (from === accept) accepts ||= sure;
      for (const way of states[from]?.ways ?? []) {
        const number = numbers.get(way.to);
        if (number !== undefined) counts.set(number, (counts.get(number) ?? 0) + 1);
        // An inner repetition that ends and is entered again passes its own state twice.
        else if (path.filter((state) => state === way.to).length < 2) {
          path.push(way.to);
          walk(way.to, sure && way.sure);
          path.pop();
        }
      }
    };
    walk(index, true);
    const source = states[index]?.source ?? '';
    const fits = known.get(source) ?? fitting(source, flags);
    known.set(source, fits);
    positions.push({
      next: [...counts.keys()],
      nextTwice: [...counts].flatMap(([number, count]) => (count > 1 ? [number] : [])),
      accepts,
      fits,
    });
  }
  return { positions, alphabet: distinct([...known.values()]) };
}

function fitting(source: string, flags: string): (character: string) => boolean {
  const one = new RegExp(`^(?:${source})$`, flags.replace(/[gymd]/g, ''));
  return (character) => one.test(character);
}

/** Printable ones first, since they show best what is shared. */
const characters = [
  ...Array.from({ length: 128 }, (_, code) => String.fromCharCode((code + 97) % 128)),
  ...['\x85', '\xa0', '\xe9', '\u0130', '\u212a', '\u2028', '\u4e2d', '\ufeff'],
];

function distinct(tests: readonly ((character: string) => boolean)[]): string[] {
  const bySet = new Map<string, string>();
  for (const character of characters) {
    const set = tests.map((fits) => fits(character)).join();
    if (!bySet.has(set)) bySet.set(set, character);
  }
  return [...bySet.values()];
}
