/** Paths of requests as OpenFaaS's gateway reads them. */

export interface ReadPath {
  /** Decoded and encoded again, so that each path has one spelling: `%2F` and `/` are the same, so are `%41` and `A`. */
  readonly path: string;
  /** The same without `//`, `.` and `..`. */
  readonly clean: string;
}

/** Reads the path of a request; undefined where a `%` in it is not followed by two hexadecimal digits. */
export function readPath(written: string): ReadPath | undefined {
  if (/%(?![0-9a-f]{2})/i.test(written)) return undefined;
  // A character for each byte, as in the request target of Node.
  const decoded = written.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return { path: encode(decoded), clean: encode(cleaned(decoded)) };
}

function cleaned(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(segment);
  }
  return `/${segments.join('/')}${path.endsWith('/') && segments.length > 0 ? '/' : ''}`;
}

/** Keeps the characters that Go's net/url keeps in paths. */
function encode(path: string): string {
  return path.replace(
    /[^A-Za-z0-9._~$&+,/:;=@-]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  );
}
