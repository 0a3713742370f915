/** How wide text is in a terminal, in columns. */

/** Marks that stand on the character before them, and characters that only steer: wcwidth(3) has 0 for them. */
const none = /^[\p{Mn}\p{Me}\p{Cf}\u1160-\u11ff]$/u;
/**
 * Characters of two columns: those with East Asian Width W or F (Unicode Standard Annex 11, in whole blocks) and emoji.
 */
const two =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18cff}\u{1aff0}-\u{1b2ff}\u{20000}-\u{3fffd}\p{Emoji_Presentation}]$/u;
/** It makes an emoji of the character before it, which some terminals then draw in two columns. */
const emojiSelector = '\ufe0f';
/** The only steering character that terminals draw. */
const softHyphen = '\u00ad';

function columnsOfCharacter(character: string): number {
  if (character >= ' ' && character <= '~') return 1;
  if (character === emojiSelector || character === softHyphen) return 1;
  if (none.test(character)) return 0;
  return two.test(character) ? 2 : 1;
}

/**
 * Columns that text takes: at the most, where terminals differ, so that what is cut to fit does fit. The text has no
 * control characters (`plain`).
 */
export function columnsOf(text: string): number {
  let columns = 0;
  for (const character of text) columns += columnsOfCharacter(character);
  return columns;
}

/** Text of at most so many columns, its end replaced by `mark` where it is longer. */
export function truncate(text: string, columns: number, mark = '…'): string {
  // Few characters have many marks on them: the rest of a long text is not read.
  const start = text.slice(0, 8 * columns + 8);
  let used = 0;
  let kept = 0;
  let place = 0;
  for (const character of start) {
    used += columnsOfCharacter(character);
    if (used > columns) return columns < 1 ? '' : text.slice(0, kept) + mark;
    place += character.length;
    if (used < columns) kept = place;
  }
  return start.length === text.length ? text : text.slice(0, kept) + mark;
}

/** Text with blanks at its end, up to so many columns. */
export function padTo(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - columnsOf(text)));
}
