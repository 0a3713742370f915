/**
 * Whether two readings hold the same bytes, however these are cut into pieces. Throws the errors of both. Each piece is used
 * before the next one of the same reading is asked for.
 */
export async function haveSameBytes(one: AsyncIterable<Buffer>, other: AsyncGenerator<Buffer, void>): Promise<boolean> {
  let held: Buffer = Buffer.alloc(0);
  for await (const piece of one) {
    for (let done = 0; done < piece.length; ) {
      if (held.length === 0) held = (await other.next()).value ?? held;
      const length = Math.min(held.length, piece.length - done);
      if (length === 0 || !held.subarray(0, length).equals(piece.subarray(done, done + length))) return false;
      held = held.subarray(length);
      done += length;
    }
  }
  return true;
}
