import { z } from 'zod';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** The finished image. */
export const imageSettings = {
  compression: setting(
    'IMAGEBUILDER_COMPRESSION',
    z.enum(['zlib', 'zstd'], { error: 'must be zlib or zstd' }),
    'zlib',
    'Compression of a full repack. zstd is faster and smaller, and needs QEMU 5.1 or later to read.',
  ),
} as const satisfies Declarations;

export type ImageSettings = SettingsOf<typeof imageSettings>;
