import { z } from 'zod';
import { yesNo } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** The finished image. */
export const imageSettings = {
  compression: setting(
    'IMAGEBUILDER_COMPRESSION',
    z.enum(['zlib', 'zstd'], { error: 'must be zlib or zstd' }),
    'zlib',
    'Compression of a full repack. zstd is faster and smaller, and needs QEMU 5.1 or later to read.',
  ),
  bootCheck: setting(
    'IMAGEBUILDER_BOOT_CHECK',
    yesNo,
    'false',
    'Whether every finished image is booted before it is stored, as `boot_check` of a request asks for one. It takes 15 to 60 seconds for each of BIOS and UEFI where the machine is emulated, a few with KVM, and 1.3 GiB of memory; CD images, which are booted from a CD and from a disk, take half as long again.',
  ),
} as const satisfies Declarations;

export type ImageSettings = SettingsOf<typeof imageSettings>;
