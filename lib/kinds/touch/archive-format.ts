import type { Compression } from '../../image/compress.ts';

/** Formats of archives by their compression, as results name them, and their media types. */

export const formats = { gzip: 'tar.gz', xz: 'tar.xz', zstd: 'tar.zst', none: 'tar' } as const;

export const mediaTypes: Readonly<Record<Compression, string>> = {
  gzip: 'application/gzip',
  xz: 'application/x-xz',
  zstd: 'application/zstd',
  none: 'application/x-tar',
};
