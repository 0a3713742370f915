import { type Automaton, buildAutomaton } from './automaton.ts';
import { parseExpression } from './syntax.ts';

/**
 * Returns the reason why an expression may take more time than its text is long; null where it cannot.
 *
 * A matcher that backtracks tries every way in which a text can be read before it gives up. Their number grows faster
 * than the text exactly where two different positions, the second after the first, can both go on for ever over the
 * same characters (Weideman and others on the ambiguity of NFA, CIAA 2016). Skipping to the next place where an
 * expression without `^` may match is such a position too: `/ +x/` is quadratic. Where the second position
 * already ends a match, the rest is not tried.
 */
export function whyNotLinear(source: string, flags = ''): string | null {
  const automaton = buildAutomaton(parseExpression(source), flags);
  const { positions, alphabet } = automaton;
  const reach = positions.map((_, from) => reachable(automaton, from));
  const loops = positions.flatMap((_, index) => (reach[index]?.has(index) ? [index] : []));
  const circle = (index: number) => (other: number) =>
    reach[index]?.has(other) === true && reach[other]?.has(index) === true;

  const twice = loops.find((index) => positions[index]?.nextTwice.some(circle(index)));
  if (twice !== undefined && positions[twice]?.accepts === false) return 'a repetition within a repetition';
  for (const first of loops) {
    for (const second of loops) {
      if (first === second || positions[first]?.accepts || positions[second]?.accepts) continue;
      if (reach[first]?.has(second) !== true) continue;
      const text = sharedText(first, second);
      if (text === null) continue;
      const shown = JSON.stringify(text);
      return first === 1 ? `${shown} is read from each of its characters on` : `two repetitions share ${shown}`;
    }
  }
  return null;

  /** A text over which `first` comes back to itself, `second` does, and `first` leads to `second`. */
  function sharedText(first: number, second: number): string | null {
    const [nearFirst, nearSecond] = [circle(first), circle(second)];
    const step = (position: number, character: string) =>
      (positions[position]?.next ?? []).filter((next) => positions[next]?.fits(character) === true);
    const after = ([staying, moving, ending]: Places, character: string): Places[] => {
      const stays = step(staying, character).filter(nearFirst);
      const ends = step(ending, character).filter((next) => nearSecond(next) && !positions[next]?.accepts);
      if (stays.length === 0 || ends.length === 0) return [];
      const moves = step(moving, character).filter((next) => next === second || reach[next]?.has(second) === true);
      return stays.flatMap((a) => moves.flatMap((b) => ends.map((c): Places => [a, b, c])));
    };
    const seen = new Set([`${first},${first},${second}`]);
    const queue: { at: Places; text: string }[] = [{ at: [first, first, second], text: '' }];
    for (const { at, text } of queue) {
      for (const character of alphabet) {
        for (const next of after(at, character)) {
          const key = next.join();
          if (key === `${first},${second},${second}`) return text + character;
          if (seen.has(key)) continue;
          seen.add(key);
          queue.push({ at: next, text: text + character });
        }
      }
    }
    return null;
  }
}

/** Of three ways through an automaton: one that stays near the first loop, one to the second, one that stays there. */
type Places = readonly [number, number, number];

/** The positions that one or more characters lead to. */
function reachable({ positions }: Automaton, from: number): Set<number> {
  const found = new Set<number>();
  const queue = [from];
  for (const position of queue) {
    for (const next of positions[position]?.next ?? []) {
      if (found.has(next)) continue;
      found.add(next);
      queue.push(next);
    }
  }
  return found;
}
