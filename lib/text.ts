import { stripVTControlCharacters } from 'node:util';
import { columnsOf, padTo, truncate } from './width.ts';

/** Small pieces of text for people. */

/**
 * Text of others, such as a package's log, on one line and without characters that would control the terminal, or turn
 * the direction of what stands after them.
 */
export function plain(text: string): string {
  return stripVTControlCharacters(text)
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
    .replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '')
    .trim();
}

/** Text of others in quotes, cut to a length that a message can hold. */
export function quoted(text: string): string {
  return `"${truncate(plain(text), 80)}"`;
}

/**
 * `text` without those of `characters` at its end. Linear, unlike `/\/+$/`, which tries again from every slash of a
 * long row in the middle.
 */
export function trimEndOf(text: string, characters: string): string {
  let end = text.length;
  while (end > 0 && characters.includes(text.charAt(end - 1))) end -= 1;
  return text.slice(0, end);
}

/** `text` up to the first of `marks`, or all of it. */
export function upTo(text: string, ...marks: readonly string[]): string {
  const places = marks.map((mark) => text.indexOf(mark)).filter((place) => place >= 0);
  return places.length === 0 ? text : text.slice(0, Math.min(...places));
}

/** The rest of the first line that begins with `beginning`; undefined where none does. */
export function lineAfter(text: string, beginning: string): string | undefined {
  const place = text.startsWith(beginning) ? 0 : text.indexOf(`\n${beginning}`) + 1;
  if (place === 0 && !text.startsWith(beginning)) return undefined;
  return upTo(text.slice(place + beginning.length), '\n');
}

/** The words for a sentence, the first twenty of them: `a, b, c and 7 more`. */
export function someOf(words: readonly string[], separator = ', '): string {
  const most = 20;
  const shown = words.slice(0, most).join(separator);
  return words.length <= most ? shown : `${shown} and ${words.length - most} more`;
}

/** `4 s`, `1 min 05 s`, `2 h 03 min`. */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const two = (value: number) => String(value).padStart(2, '0');
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}

/** `512 bytes`, `31.4 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 'bytes';
  for (const next of units) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return unit === 'bytes' ? `${bytes} bytes` : `${value.toFixed(1)} ${unit}`;
}

/** The first row is the heading. Columns are as wide as they need to be; the last one is not padded. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, columnsOf(cell));
  }
  return rows.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : padTo(cell, widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
