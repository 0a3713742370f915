import { bytes, MiB, wholeNumber } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** Limits of one build. */
export const limitSettings = {
  maximumDownloadBytes: setting(
    'IMAGEBUILDER_MAXIMUM_DOWNLOAD',
    bytes,
    '20G',
    'Base images larger than this are refused.',
  ),
  maximumVirtualBytes: setting(
    'IMAGEBUILDER_MAXIMUM_VIRTUAL_SIZE',
    bytes,
    '64G',
    'Images whose disk is larger than this are refused.',
  ),
  maximumPackages: setting(
    'IMAGEBUILDER_MAXIMUM_PACKAGES',
    wholeNumber,
    '2000',
    'Builds that would install or upgrade more packages than this, dependencies included, are refused.',
  ),
  maximumLogBytes: setting(
    'IMAGEBUILDER_MAXIMUM_LOG',
    bytes.refine((size) => size >= MiB, { error: 'must be at least 1M' }),
    '64M',
    'Limit for the output of all scripts of a build; a build that exceeds it fails. A line counts as 64 bytes at least. The log in the store has at most as many bytes of text.',
  ),
  diskReserveBytes: setting(
    'IMAGEBUILDER_DISK_RESERVE',
    bytes,
    '1G',
    'Space that stays free in the folders for work, cache and store. A build that would take it waits for others to end, fails before it starts, or is stopped.',
  ),
} as const satisfies Declarations;

export type LimitSettings = SettingsOf<typeof limitSettings>;
