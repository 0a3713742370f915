import { knownFooter, knownFormat, notDisk } from '../file-format.ts';
import { isQcow } from './qcow2/header.ts';

/** Bytes from the start of a file that `detectFormat` wants, or the whole file where it is shorter. */
export const formatHeadBytes = 64 * 1024;
/** Bytes from the end of a file that `detectFormat` wants: VHD and DMG keep their mark there. */
export const formatTailBytes = 512;

/** What a file is: something to look into, or something else in words, with what to do about it. */
export type DetectedFormat =
  | { readonly format: 'qcow2' | 'raw' }
  | { readonly format: 'other'; readonly name: string; readonly advice: string };

/**
 * Says what a file is from its first `formatHeadBytes` and last `formatTailBytes` bytes. Everything that nothing else
 * recognises is `raw`: whether a raw file holds a disk is for its partition table to say.
 */
export function detectFormat(head: Buffer, tail: Buffer): DetectedFormat {
  if (head.length === 0) return other('empty', notDisk);
  if (isQcow(head)) return { format: 'qcow2' };
  const known = knownFormat(head) ?? knownFooter(tail);
  if (known !== null) return other(known.name, known.advice);
  return text(head) ?? { format: 'raw' };
}

/** Pages and lists that stand where an image was expected; a disk has zero bytes within its first blocks. */
function text(head: Buffer): DetectedFormat | null {
  const start = head.subarray(0, 4096);
  if (start.some((byte) => byte < 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d)) return null;
  const beginning = start
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trimStart()
    .slice(0, 200)
    .toLowerCase();
  if (/^<(!doctype html|html|head|body|!--)/.test(beginning)) {
    return other('an HTML page', 'the server may have answered with an error or a login page');
  }
  if (beginning.startsWith('<')) return other('an XML document', notDisk);
  if (/^[{[]/.test(beginning)) return other('a JSON document', notDisk);
  return other('a text file', notDisk);
}

function other(name: string, advice: string): DetectedFormat {
  return { format: 'other', name, advice };
}
