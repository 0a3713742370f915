// @ts-check
/**
 * Text in which blanks, tabs and backslashes are written as `\040`, as fstab and the kernel's mount tables do.
 * @param {string} text
 * @returns {string}
 */
export function unescapeOctal(text) {
  return text.replace(/\\([0-7]{3})/g, (_, /** @type {string} */ octal) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
