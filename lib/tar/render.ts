import { sumOf } from '../tar-sum.ts';
import { padded, tarBlockBytes } from './header.ts';

/** A header before a member, with its content: `x` for extended ones, `L` and `K` for GNU's long names and targets. */
export function renderExtra(flag: 'x' | 'L' | 'K', content: Buffer): Buffer {
  const header = Buffer.alloc(tarBlockBytes);
  header.write('header', 0);
  for (const at of [100, 108, 116]) header.write('0000000\0', at, 'latin1');
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.write('00000000000\0', 136, 'latin1');
  header.write(flag, 156);
  header.write('ustar\x0000', 257, 'latin1');
  const padding = Buffer.alloc(padded(content.length) - content.length);
  return Buffer.concat([withSum(header), content, padding]);
}

/** Puts the checksum into a header. */
export function withSum(header: Buffer): Buffer {
  header.write(`${sumOf(header).toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}
