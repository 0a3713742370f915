import type { Download, PackageDigest } from '../apt/downloads.ts';
import type { InstalledPackage } from '../apt/packages.ts';
import { version } from '../version.ts';
import type { ImageContents, System } from './contents.ts';
import { findDownload, plainUrl, repositoryNames } from './fetched.ts';
import { allOf, type Licence, type UnknownLicence } from './licences.ts';
import { debianPurl, sourceText } from './purl.ts';

/** The members that we write of a package in SPDX 2.3's JSON. */
interface SpdxPackage {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo?: string;
  readonly downloadLocation: string;
  readonly filesAnalyzed: false;
  readonly licenseConcluded: string;
  readonly licenseDeclared: string;
  readonly copyrightText: string;
  readonly primaryPackagePurpose?: 'FILE' | 'OPERATING-SYSTEM';
  readonly comment?: string;
  readonly sourceInfo?: string;
  readonly checksums?: readonly { readonly algorithm: 'SHA256' | 'SHA512'; readonly checksumValue: string }[];
  readonly externalRefs?: readonly {
    readonly referenceCategory: 'PACKAGE-MANAGER';
    readonly referenceType: 'purl';
    readonly referenceLocator: string;
  }[];
}

const noAssertion = 'NOASSERTION';
/** The members that every package needs and that nobody has looked at. */
const unknown = {
  downloadLocation: noAssertion,
  filesAnalyzed: false,
  licenseConcluded: noAssertion,
  licenseDeclared: noAssertion,
  copyrightText: noAssertion,
} as const;

// Trivy goes by the beginning of an id: it takes anything but an operating system and an application for a library,
// which needs a purl.
const imageId = 'SPDXRef-Application-Image';
const baseId = 'SPDXRef-Application-BaseImage';
const systemId = 'SPDXRef-OperatingSystem';

/**
 * The software bill of materials of an image as SPDX 2.3 JSON: the image, its base image, its operating system and
 * every package. Equal contents of equal builds give equal bytes.
 */
export function spdx(contents: ImageContents): string {
  const { image, base, system } = contents;
  const downloadOf = findDownload(contents.downloads);
  const packages = contents.packages
    .map((entry) => ({
      ...debianPackage(entry, system, downloadOf(entry)),
      ...declared(contents.licences.get(entry.name)),
    }))
    .sort((a, b) => (a.SPDXID < b.SPDXID ? -1 : 1));
  const contained = packages.map(({ SPDXID }) => relationship(systemId, 'CONTAINS', SPDXID));
  const document = {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: image.name,
    documentNamespace: `urn:uuid:${contents.buildId}`,
    creationInfo: {
      // SPDX allows no parts of seconds.
      created: `${contents.time.toISOString().slice(0, 19)}Z`,
      creators: [`Tool: image-builder-${version}`],
    },
    packages: [describedImage(image), baseImage(base), operatingSystem(system), ...packages],
    ...unknownLicences(contents),
    relationships: [
      relationship('SPDXRef-DOCUMENT', 'DESCRIBES', imageId),
      relationship(imageId, 'DESCENDANT_OF', baseId),
      relationship(imageId, 'CONTAINS', systemId),
      ...contained,
    ],
  };
  return `${JSON.stringify(document, null, 1)}\n`;
}

function describedImage({ name, checksums }: ImageContents['image']): SpdxPackage {
  return {
    ...{ SPDXID: imageId, name, ...unknown, primaryPackagePurpose: 'FILE' },
    checksums: [
      { algorithm: 'SHA256', checksumValue: checksums.sha256 },
      { algorithm: 'SHA512', checksumValue: checksums.sha512 },
    ],
  };
}

function baseImage({ url, sha256 }: ImageContents['base']): SpdxPackage {
  return {
    ...{ SPDXID: baseId, name: url, ...unknown, primaryPackagePurpose: 'FILE' },
    comment: 'The base image that this image was made from.',
    checksums: [{ algorithm: 'SHA256', checksumValue: sha256 }],
  };
}

function operatingSystem({ distribution, release }: System): SpdxPackage {
  return {
    ...{ SPDXID: systemId, name: distribution, ...unknown, primaryPackagePurpose: 'OPERATING-SYSTEM' },
    ...(release === '' ? {} : { versionInfo: release }),
  };
}

function debianPackage(entry: InstalledPackage, system: System, download: Download | undefined): SpdxPackage {
  const { name, architecture, source } = entry;
  return {
    SPDXID: `SPDXRef-Package-${idPart(architecture)}-${idPart(name)}`,
    ...{ name, ...(entry.version === '' ? {} : { versionInfo: entry.version }), ...unknown },
    ...(download === undefined ? {} : originOf(download)),
    // Trivy looks for the source package in these words.
    ...(source === undefined ? {} : { sourceInfo: `built package from: ${sourceText(source, ' ')}` }),
    externalRefs: [
      {
        referenceCategory: 'PACKAGE-MANAGER',
        referenceType: 'purl',
        referenceLocator: debianPurl(entry, system),
      },
    ],
  };
}

function declared(licences: readonly Licence[] | undefined): Partial<SpdxPackage> {
  return licences === undefined ? {} : { licenseDeclared: allOf(licences) };
}

/** The licences that SPDX has no id for (chapter 10 of its specification). */
function unknownLicences({ packages, licences }: ImageContents) {
  const key = ({ reference, name }: UnknownLicence) => `${reference} ${name}`;
  const unknown = packages
    .flatMap((entry) => licences.get(entry.name) ?? [])
    .flatMap((licence) => licence.unknown)
    .sort((a, b) => (key(a) < key(b) ? 1 : -1));
  // The last of equal references counts, which is the first of their names.
  const names = new Map(unknown.map(({ reference, name }) => [reference, name]));
  const infos = [...names].map(([licenseId, name]) => ({
    ...{ licenseId, name },
    extractedText: `The copyright file in the image, /usr/share/doc/PACKAGE/copyright, calls it "${name}" and has its text.`,
  }));
  return infos.length === 0 ? {} : { hasExtractedLicensingInfos: infos.reverse() };
}

function originOf(download: Download): Pick<SpdxPackage, 'downloadLocation' | 'checksums' | 'comment'> {
  const { digest } = download;
  const names = repositoryNames(download);
  return {
    downloadLocation: plainUrl(download) ?? noAssertion,
    ...(digest === null ? {} : { checksums: [checksumOf(digest)] }),
    ...(names.length === 0 ? {} : { comment: `from the repository ${names.join(', ')}` }),
  };
}

function checksumOf(digest: PackageDigest): NonNullable<SpdxPackage['checksums']>[number] {
  if ('sha256' in digest) return { algorithm: 'SHA256', checksumValue: digest.sha256 };
  return { algorithm: 'SHA512', checksumValue: digest.sha512 };
}

/** Ids may have letters, digits, dots and dashes. Names of packages have no capitals: `X002B` stands for a plus. */
function idPart(text: string): string {
  return text.replace(
    /[^a-z0-9.-]/g,
    (character) => `X${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}`,
  );
}

function relationship(spdxElementId: string, relationshipType: string, relatedSpdxElement: string) {
  return { spdxElementId, relationshipType, relatedSpdxElement };
}
