import type { Checksums } from '../api/image-result.ts';
import type { Download } from '../apt/downloads.ts';
import type { ImageFacts } from '../apt/facts.ts';
import type { InstalledPackage } from '../apt/packages.ts';
import type { Licences } from './licences.ts';

/** The operating system of an image, in the words by which scanners find its vulnerabilities. */
export interface System {
  /** `ID` of os-release; `linux` where it has none, as os-release(5) says. */
  readonly distribution: string;
  /** `VERSION_ID` of os-release or, where there is none (Debian testing), the name of the series; may be empty. */
  readonly release: string;
}

/** The content of a finished image, from which its bills of materials are made. */
export interface ImageContents {
  readonly buildId: string;
  /** The time at which the image was complete. */
  readonly time: Date;
  /** The image's name and digests. */
  readonly image: { readonly name: string; readonly checksums: Checksums };
  /** The base image: its URL without credentials, and its digest. */
  readonly base: { readonly url: string; readonly sha256: string };
  readonly system: System;
  readonly packages: readonly InstalledPackage[];
  /** The files that this build has fetched for some of the packages. */
  readonly downloads: readonly Download[];
  readonly licences: Licences;
}

export function systemOf({ distribution, distributionVersion, series }: ImageFacts): System {
  return { distribution: distribution || 'linux', release: distributionVersion || (series ?? '') };
}
