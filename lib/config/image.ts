import { z } from 'zod';
import { wholeNumber, yesNo } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** The finished image. */
export const imageSettings = {
  compression: setting(
    'IMAGEBUILDER_COMPRESSION',
    z.enum(['zlib', 'zstd'], { error: 'must be zlib or zstd' }),
    'zlib',
    'Compression of a full repack. zstd is faster and smaller, and needs QEMU 5.1 or later to read.',
  ),
  xzPreset: setting(
    'IMAGEBUILDER_XZ_PRESET',
    z
      .string()
      .regex(/^[0-9]$/, { error: 'must be a digit from 0 to 9' })
      .transform(Number),
    '6',
    'Preset of xz for touch images whose base is packed by it. 1.5 GiB take some 90 seconds of processor time with 0, 220 with 2 and 580 with 6, and some 20 % more bytes with 0 than with 6.',
  ),
  xzThreads: setting(
    'IMAGEBUILDER_XZ_THREADS',
    wholeNumber.refine((threads) => threads >= 1 && threads <= 64, { error: 'must be a number from 1 to 64' }),
    '2',
    'Threads of xz, each of which takes 100 MiB of memory and more with preset 6, and 700 MiB with 9. The result is the same with any number.',
  ),
  bootCheck: setting(
    'IMAGEBUILDER_BOOT_CHECK',
    yesNo,
    'false',
    'Whether every finished image is booted before it is stored, as `boot_check` of a request asks for one. It takes 15 to 60 seconds for each of BIOS and UEFI where the machine is emulated, a few with KVM, and 1.3 GiB of memory; CD images, which are booted from a CD and from a disk, take half as long again.',
  ),
} as const satisfies Declarations;

export type ImageSettings = SettingsOf<typeof imageSettings>;
