/**
 * True in `npm run test:long`. The system tests show each mechanism once; further variants of the same, such as by the
 * other guest or for another architecture, are tests only then.
 */
export const isLong = process.env.TEST_LONG === '1';

/** The first of these; in `npm run test:long`, all of them. */
export function variants<Variant extends string>(first: Variant, ...others: readonly Variant[]): readonly Variant[] {
  return isLong ? [first, ...others] : [first];
}

/** The same way to define a test, for tests that are such only in `npm run test:long`. */
export function whenLong<Words extends readonly unknown[]>(
  define: (...words: Words) => void,
): (...words: Words) => void {
  return isLong ? define : () => {};
}
