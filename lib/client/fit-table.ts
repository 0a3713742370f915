import { columnsOf, padTo, truncate } from '../width.ts';

/** Tables that fit into the width of a terminal. */

export interface Column {
  readonly title: string;
  /** Columns of the terminal below which it says nothing; undefined where it is never cut. */
  readonly least?: number;
  /** Columns of the table are left out in this order, 1 first; undefined where it always stays. */
  readonly leaveOut?: number;
}

const gap = 2;

/**
 * The lines of a table, its heading first. Where it is too wide, cells are cut down to the least that their column
 * allows, and columns left out; null where that is not enough.
 */
export function fitTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  width: number,
  mark = '…',
): string[] | null {
  let shown = columns.map((column, index) => {
    const natural = rows.reduce((most, row) => Math.max(most, columnsOf(row[index] ?? '')), columnsOf(column.title));
    return { ...column, index, natural, columns: Math.min(natural, column.least ?? natural) };
  });
  const needed = () => shown.reduce((sum, column) => sum + column.columns, gap * (shown.length - 1));
  while (needed() > width) {
    const [first] = shown
      .filter(({ leaveOut }) => leaveOut !== undefined)
      .toSorted((a, b) => (a.leaveOut ?? 0) - (b.leaveOut ?? 0));
    if (first === undefined) return null;
    shown = shown.filter((column) => column !== first);
  }
  // The room that is left goes to all alike.
  for (let left = width - needed(), grown = true; left > 0 && grown; ) {
    grown = false;
    for (const column of shown) {
      if (left === 0 || column.columns === column.natural) continue;
      column.columns += 1;
      left -= 1;
      grown = true;
    }
  }
  return [columns.map(({ title }) => title), ...rows].map((row) =>
    shown
      .map(({ index, columns: size }) => padTo(truncate(row[index] ?? '', size, mark), size))
      .join(' '.repeat(gap))
      .trimEnd(),
  );
}
