/**
 * True in `npm run test:long`. The system tests show each mechanism once; further variants of the same, such as by the
 * other guest or for another architecture, are tests only then.
 */
export const isLong = process.env.TEST_LONG === '1';

/** The same way to define a test, for tests that are such only in `npm run test:long`. */
export function whenLong<Words extends readonly unknown[]>(
  define: (...words: Words) => void,
): (...words: Words) => void {
  return isLong ? define : () => {};
}
