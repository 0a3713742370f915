import { url, yesNo } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** Packages and where they come from. */
export const packageSettings = {
  installRecommends: setting(
    'IMAGEBUILDER_INSTALL_RECOMMENDS',
    yesNo,
    'false',
    'Whether recommended packages are installed as well.',
  ),
  launchpadApiUrl: setting(
    'IMAGEBUILDER_LAUNCHPAD_API_URL',
    url,
    'https://api.launchpad.net/devel',
    'Launchpad’s API, which names the signing keys of PPAs.',
  ),
  ppaUrl: setting(
    'IMAGEBUILDER_PPA_URL',
    url,
    'https://ppa.launchpadcontent.net',
    'Server of PPAs; a PPA is at `URL/owner/name/ubuntu`.',
  ),
} as const satisfies Declarations;

export type PackageSettings = SettingsOf<typeof packageSettings>;
