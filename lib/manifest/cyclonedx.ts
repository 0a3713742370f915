import { Enums, Models, Serialize, Spec } from '@cyclonedx/cyclonedx-library';
import type { InstalledPackage } from '../apt/packages.ts';
import { splitVersion } from '../apt/version.ts';
import { version } from '../version.ts';
import type { ImageContents, System } from './contents.ts';
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
  const packages = contents.packages.map((entry) => packageComponent(entry, system));
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

function packageComponent(entry: InstalledPackage, system: System): Models.Component {
  const purl = debianPurl(entry, system);
  return new Models.Component(Enums.ComponentType.Library, entry.name, {
    bomRef: purl,
    version: entry.version,
    purl,
    properties: new Models.PropertyRepository(sourceProperties(entry.source)),
  });
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
