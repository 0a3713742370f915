/** Text in which blanks, tabs and backslashes are written as `\040`, as fstab and the kernel's mount tables do. */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
