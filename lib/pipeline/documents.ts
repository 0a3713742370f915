import type { ArtifactRole } from '../api/artifact-report.ts';
import type { ProvenanceSettings } from '../config/provenance.ts';
import { safeUrl } from '../errors.ts';
import type { TouchedFiles } from '../guest/touched-files.ts';
import { describeChanges } from '../manifest/changes.ts';
import { type ImageContents, systemOf } from '../manifest/contents.ts';
import { cyclonedx } from '../manifest/cyclonedx.ts';
import type { Licences } from '../manifest/licences.ts';
import { packageManifest } from '../manifest/packages.ts';
import { spdx } from '../manifest/spdx.ts';
import { toVisibleJson } from '../manifest/touched.ts';
import { envelopeMediaType, signStatement } from '../provenance/dsse.ts';
import { type ImageArtifact, type OtherArtifact, stemOf } from '../store/artifact.ts';
import { writeArtifact } from '../store/write-artifact.ts';
import { describeProvenance, type ProvenBuild } from './provenance.ts';

/** A build whose image is checked: all that its documents are made from. */
export interface DescribedBuild extends ProvenBuild {
  readonly image: ImageArtifact;
  /** The files beside it that are there already. */
  readonly beside: readonly OtherArtifact[];
  /** The packages that the request names. */
  readonly wanted: readonly string[];
  /** The files that the build has touched; null where they are unknown. */
  readonly touched: TouchedFiles | null;
  /** The licences of the image's packages. */
  readonly licences: Licences;
}

/** The content of a file beside an image. */
interface Document {
  readonly role: ArtifactRole;
  /** End of its name, such as `.manifest`. */
  readonly suffix: string;
  readonly mediaType: string;
  readonly content: string;
}

/**
 * Writes the files that describe a build into `directory`, for the store. Their names begin as the image's does. With a key,
 * the provenance vouches for the image and for each of the others.
 */
export async function writeDocuments(
  build: DescribedBuild,
  directory: string,
  { provenanceKey, builderId }: ProvenanceSettings,
): Promise<OtherArtifact[]> {
  const contents = contentsOf(build);
  const base = stemOf(build.image);
  const write = ({ suffix, content, ...rest }: Document) =>
    writeArtifact({ ...rest, name: `${base}${suffix}` }, content, directory);
  const { before, installed, wanted, touched } = build;
  const changes = describeChanges({
    before: before.packages,
    after: installed.packages,
    architecture: before.architecture,
    wanted,
    instead: installed.plan.instead,
    touched,
  });
  const documents: Document[] = [
    {
      role: 'manifest',
      suffix: '.manifest',
      mediaType: 'text/plain; charset=utf-8',
      content: packageManifest(installed.listed),
    },
    {
      role: 'changes',
      suffix: '.changes.json',
      mediaType: 'application/json',
      content: toVisibleJson(changes),
    },
    {
      role: 'cyclonedx',
      suffix: '.cdx.json',
      mediaType: 'application/vnd.cyclonedx+json; version=1.6',
      content: cyclonedx(contents),
    },
    { role: 'spdx', suffix: '.spdx.json', mediaType: 'application/spdx+json', content: spdx(contents) },
  ];
  const written = await Promise.all(documents.map((document) => write(document)));
  if (provenanceKey === null) return written;
  const statement = describeProvenance(build, [build.image, ...build.beside, ...written], builderId);
  const provenance: Document = {
    role: 'provenance',
    suffix: '.provenance.json',
    mediaType: envelopeMediaType,
    content: signStatement(statement, provenanceKey),
  };
  return [...written, await write(provenance)];
}

function contentsOf({ build, finishedAt, base, image, before, installed, licences }: DescribedBuild): ImageContents {
  return {
    ...{ buildId: build.buildId, time: finishedAt, image, packages: installed.packages },
    ...{ downloads: installed.plan.downloads, licences },
    base: { url: safeUrl(base.url), sha256: base.sha256 },
    system: systemOf(before),
  };
}
