import { Enums, Models, Serialize, Spec } from '@cyclonedx/cyclonedx-library';
import type { Download } from '../apt/downloads.ts';
import type { InstalledPackage } from '../apt/packages.ts';
import { splitVersion } from '../apt/version.ts';
import { version } from '../version.ts';
import type { ImageContents, System } from './contents.ts';
import { findDownload, plainUrl, repositoryNames } from './fetched.ts';
import { allOf, type Licence } from './licences.ts';
import { debianPurl } from './purl.ts';

/**
 * The software bill of materials of an image as CycloneDX 1.6 JSON: the image, its base image, its operating system and
 * every package. Equal contents of equal builds give equal bytes.
 */
export function cyclonedx(contents: ImageContents): string {
  const { image, base, system } = contents;
  // Trivy refuses a document about a `file`, and names images of virtual machines `container` itself.
  const { Container, OperatingSystem, Application } = Enums.ComponentType;
  const described = new Models.Component(Container, image.name, {
    bomRef: `sha256:${image.checksums.sha256}`,
    hashes: new Models.HashDictionary([
      [Enums.HashAlgorithm['SHA-256'], image.checksums.sha256],
      [Enums.HashAlgorithm['SHA-512'], image.checksums.sha512],
    ]),
  });
  const origin = new Models.Component(Container, base.url, {
    bomRef: `base:sha256:${base.sha256}`,
    description: 'The base image that this image was made from.',
    hashes: new Models.HashDictionary([[Enums.HashAlgorithm['SHA-256'], base.sha256]]),
  });
  const os = new Models.Component(OperatingSystem, system.distribution, {
    bomRef: 'operating-system',
    ...(system.release === '' ? {} : { version: system.release }),
  });
  const downloadOf = findDownload(contents.downloads);
  const packages = contents.packages.map((entry) => {
    const licences = contents.licences.get(entry.name) ?? [];
    return packageComponent(entry, { system, download: downloadOf(entry), licences });
  });
  // Trivy takes the packages that the operating system depends on.
  described.dependencies.add(os.bomRef).add(origin.bomRef);
  for (const { bomRef } of packages) os.dependencies.add(bomRef);

  const builder = new Models.Component(Application, 'image-builder', { version });
  const bom = new Models.Bom({
    serialNumber: `urn:uuid:${contents.buildId}`,
    metadata: new Models.Metadata({
      timestamp: contents.time,
      component: described,
      tools: new Models.Tools({ components: new Models.ComponentRepository([builder]) }),
    }),
    components: new Models.ComponentRepository([os, origin, ...packages]),
  });
  const normaliser = new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6);
  return `${new Serialize.JsonSerializer(normaliser).serialize(bom, { sortLists: true, space: 1 })}\n`;
}

interface About {
  readonly system: System;
  readonly download: Download | undefined;
  readonly licences: readonly Licence[];
}

function packageComponent(entry: InstalledPackage, { system, download, licences }: About): Models.Component {
  const purl = debianPurl(entry, system);
  return new Models.Component(Enums.ComponentType.Library, entry.name, {
    bomRef: purl,
    ...(entry.version === '' ? {} : { version: entry.version }),
    purl,
    licenses: new Models.LicenseRepository(licensesOf(licences)),
    properties: new Models.PropertyRepository([...sourceProperties(entry.source), ...originProperties(download)]),
    ...(download === undefined ? {} : { hashes: hashesOf(download), externalReferences: distributionOf(download) }),
  });
}

/** A list of licences, or one expression: the format allows no mixture. */
function licensesOf(licences: readonly Licence[]): Models.License[] {
  if (licences.length === 0) return [];
  const acknowledgement = Enums.LicenseAcknowledgement.Declared;
  if (licences.some(({ form }) => form !== 'single')) {
    const license = new Models.LicenseExpression(allOf(licences));
    license.acknowledgement = acknowledgement;
    return [license];
  }
  return licences.map(({ expression, unknown: [unknown] }) =>
    unknown === undefined
      ? new Models.SpdxLicense(expression, { acknowledgement })
      : new Models.NamedLicense(unknown.name, { acknowledgement }),
  );
}

function hashesOf({ digest }: Download): Models.HashDictionary {
  if (digest === null) return new Models.HashDictionary();
  const algorithm = Enums.HashAlgorithm;
  return new Models.HashDictionary([
    'sha256' in digest ? [algorithm['SHA-256'], digest.sha256] : [algorithm['SHA-512'], digest.sha512],
  ]);
}

function distributionOf(download: Download): Models.ExternalReferenceRepository {
  const url = plainUrl(download);
  const type = Enums.ExternalReferenceType.Distribution;
  return new Models.ExternalReferenceRepository(url === null ? [] : [new Models.ExternalReference(url, type)]);
}

function originProperties(download: Download | undefined): Models.Property[] {
  const names = download === undefined ? [] : repositoryNames(download);
  return names.map((name) => new Models.Property('imagebuilder:repository', name));
}

/** The source package under the names by which Trivy looks for it: vulnerabilities are listed by source package. */
function sourceProperties(source: InstalledPackage['source']): Models.Property[] {
  if (source === undefined) return [];
  const { epoch, upstream, revision } = splitVersion(source.version);
  // Trivy refuses the whole document for an epoch that is no number.
  const number = /^[0-9]{1,9}$/.test(epoch) ? epoch : '';
  const values = { SrcName: source.name, SrcVersion: upstream, SrcRelease: revision, SrcEpoch: number };
  return Object.entries(values)
    .filter(([, value]) => value !== '')
    .map(([name, value]) => new Models.Property(`aquasecurity:trivy:${name}`, value));
}
