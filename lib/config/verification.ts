import { z } from 'zod';
import { VerifiedBy } from '../evidence.ts';
import { folder, list } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

const word = 'publishers';

/** The evidence for base images. */
export const verificationSettings = {
  /** Null: the publishers' keyrings that are installed. */
  keyrings: setting(
    'IMAGEBUILDER_BASE_IMAGE_KEYRINGS',
    list
      .transform((paths) => (paths.join() === word ? null : paths.join() === 'none' ? [] : paths))
      .pipe(z.array(folder).nullable()),
    word,
    'Files with the OpenPGP keys that may sign the checksums of base images, as gpgv reads them (not ASCII-armoured), separated by commas; `none`; or `publishers`: Ubuntu’s key of cloud images, where the Debian package `ubuntu-keyring` is installed.',
  ),
  leastVerification: setting(
    'IMAGEBUILDER_LEAST_VERIFICATION',
    z.enum(VerifiedBy.options, { error: `must be one of ${VerifiedBy.options.join(', ')}` }),
    'unverified',
    'Base images with less evidence are refused, in the words of `verified_by` in docs/api.md, the best first: `request`, `signature`, `checksums_over_https`, `https`, `checksums_over_http`, `unverified`.',
  ),
} as const satisfies Declarations;

export type VerificationSettings = SettingsOf<typeof verificationSettings>;
