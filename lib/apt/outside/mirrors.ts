import { gunzipSync } from 'node:zlib';
import { ImageBuilderError } from '../../errors.ts';

/**
 * Lists of mirrors in files of an image (apt-transport-mirror(1)), for the mirror method of the worker's apt, which knows
 * their priorities and filters. Only mirrors by http and https get through: any other could name a file of the worker.
 */

const maximumBytes = 1024 * 1024;
const maximumMirrors = 1_000;

/** The path of the list in the image, of `mirror+file:/path`; null for any other URI. */
export function mirrorListPath(uri: string): string | null {
  const path = /^mirror\+(?:file|copy):(?:\/\/(?=\/))?(\/[A-Za-z0-9._+~@/-]{1,1000})$/.exec(uri)?.[1];
  return path === undefined || path.split('/').includes('..') ? null : path;
}

/**
 * The lines of a list that the worker's apt may read, checked. Throws `apt.repository` where the list is not there,
 * too large, compressed with anything but gzip, or names no mirror that can be reached.
 */
export function parseMirrorList(path: string, content: Buffer | undefined): string {
  const refuse = (what: string) =>
    new ImageBuilderError('apt.repository', `the list of mirrors ${path}, which a source of the image names, ${what}`);
  if (content === undefined) throw refuse('is not in the image');
  const text = unpack(path, content);
  if (text === null) throw refuse('is compressed in a way that is not read here, or is larger than 1 MiB');
  const mirrors = text.split('\n').flatMap((line) => {
    const [uri = '', ...words] = line.trim().split(/[\t ]+/);
    if (!/^https?:\/\/[!#-;=?-Z_a-z~[\]@]+$/.test(uri) || !URL.canParse(uri)) return [];
    return words.every((word) => /^[a-z-]{1,20}:[A-Za-z0-9._+~-]{1,100}$/.test(word))
      ? [[uri, ...words].join('\t')]
      : [];
  });
  if (mirrors.length === 0) throw refuse('names no mirror by http or https');
  if (mirrors.length > maximumMirrors) throw refuse(`names more than ${maximumMirrors} mirrors`);
  return `${mirrors.join('\n')}\n`;
}

/** apt tells compression by the name alone. */
function unpack(path: string, content: Buffer): string | null {
  const packed = /\.(gz|xz|lzma|bz2|lz4|zst)$/.exec(path)?.[1];
  if (packed === undefined) return content.length > maximumBytes ? null : content.toString('utf8');
  try {
    return packed === 'gz' ? gunzipSync(content, { maxOutputLength: maximumBytes }).toString('utf8') : null;
  } catch {
    return null;
  }
}
