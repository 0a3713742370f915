import { createHash } from 'node:crypto';
import { type FileSpec, spec } from './files.ts';

/** Bytes that no compressor makes smaller, the same for each seed. */
export function noise(seed: string, length: number): Buffer {
  const pieces = Array.from({ length: Math.ceil(length / 64) }, (_, index) =>
    createHash('sha512').update(`${seed} ${index}`).digest(),
  );
  return Buffer.concat(pieces).subarray(0, length);
}

/** A capability as the kernel stores it: version 2, CAP_NET_RAW, effective. */
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex');

/** A bit of everything that a tar archive can hold. */
export function world(): Map<string, FileSpec> {
  const files = new Map<string, FileSpec>([
    ['bin', spec('symlink', { target: 'usr/bin' })],
    ['dev', spec('directory')],
    ['dev/null', spec('character', { mode: 0o666, device: [1, 3] })],
    ['dev/sda', spec('block', { mode: 0o660, gid: 6, device: [8, 0] })],
    ['dev/nvme', spec('block', { device: [259, 70_000] })],
    ['dev/pipe', spec('fifo', { mode: 0o600 })],
    ['empty', spec('directory', { mode: 0o1777, uid: 12_345, gid: 54_321 })],
    ['etc', spec('directory')],
    ['etc/os-release', spec('file', { content: Buffer.from('ID=debian\n') })],
    ['etc/shadow', spec('file', { mode: 0o640, gid: 42, content: Buffer.from('root:*:\n') })],
    ['etc/nothing', spec('file', { content: Buffer.alloc(0), modifiedSeconds: 0 })],
    ['usr', spec('directory', { attributes: { 'trusted.overlay.opaque': Buffer.from('y') } })],
    ['usr/bin', spec('directory')],
    [
      'usr/bin/ping',
      spec('file', { mode: 0o755, content: noise('ping', 900), attributes: { 'security.capability': capability } }),
    ],
    ['usr/bin/su', spec('file', { mode: 0o4755, content: noise('su', 300_001), inode: 'su' })],
    ['usr/bin/su.too', spec('file', { mode: 0o4755, content: noise('su', 300_001), inode: 'su' })],
    ['usr/bin/same', spec('file', { content: noise('su', 300_001) })],
    ['usr/blöd n\nu', spec('file', { content: Buffer.from('ü'), uid: 3_000_000, gid: 4_000_000_000 })],
    ['usr/text', spec('file', { content: Buffer.from('many words\n'.repeat(60_000)) })],
    ['usr/zero', spec('file', { content: Buffer.alloc(700_000) })],
    [
      'usr/holes',
      spec('file', { content: Buffer.concat([noise('a', 131_072), Buffer.alloc(400_000), noise('b', 10)]) }),
    ],
    [
      'usr/attributes',
      spec('file', {
        content: Buffer.from('x'),
        attributes: { 'user.long': noise('long', 5000), 'user.b': Buffer.from('1') },
      }),
    ],
    [
      'usr/attributes2',
      spec('file', {
        content: Buffer.from('x'),
        attributes: { 'user.long': noise('long', 5000), 'user.c': Buffer.alloc(0) },
      }),
    ],
    [
      'usr/link',
      spec('symlink', { target: `../${'long/'.repeat(400)}x`, attributes: { 'trusted.x': Buffer.from('y') } }),
    ],
    ['many', spec('directory')],
  ]);
  for (let index = 0; index < 1500; index++) {
    files.set(
      `many/a name of some length ${index}`,
      spec('file', { content: index % 100 === 0 ? Buffer.from(`${index % 7}`) : Buffer.alloc(0) }),
    );
  }
  return files;
}
