import type { LayerReport, Reused } from '../api/image-result.ts';
import { keepRequest, showRequest } from '../api/kept-request.ts';
import type { BuildRequest } from '../api/request.ts';
import type { Installation } from '../apt/apt.ts';
import type { ImageFacts } from '../apt/facts.ts';
import type { Repositories } from '../apt/repositories/repository.ts';
import type { BaseImage } from '../fetch/base-image.ts';
import type { ChosenGuest } from '../guest/choose.ts';
import type { Guest } from '../guest/guest.ts';
import { systemOf } from '../manifest/contents.ts';
import { provenanceStatement } from '../provenance/statement.ts';
import type { Artifact } from '../store/artifact.ts';
import { version } from '../version.ts';
import { packageMaterials, repositoryMaterials } from './materials.ts';
import { describeBase } from './result.ts';

/** How a worker has opened an image. */
export interface BuiltBy extends Pick<ChosenGuest, 'accelerator' | 'kernel' | 'emulator'> {
  readonly guest: Guest['kind'];
}

/** A build as its provenance describes it. */
export interface ProvenBuild {
  readonly build: { readonly buildId: string; readonly request: BuildRequest };
  readonly base: BaseImage;
  readonly by: BuiltBy;
  /** The build that has made the image, where this one has not; null otherwise. */
  readonly reused: Reused | null;
  /** The layer that it was made from; null where it was made from the base image. */
  readonly layer: LayerReport | null;
  /** The facts of the base image. */
  readonly before: ImageFacts;
  /** The packages of the finished image, and how they came there. */
  readonly installed: Installation;
  /** The repositories that apt had; null where they were not looked at. */
  readonly repositories: Repositories | null;
  /** The beginning of the attempt that has made the image. */
  readonly startedAt: Date;
  /** The time at which the image was complete. */
  readonly finishedAt: Date;
}

/** The statement of where `artifacts` come from. It holds no more of the request than a status shows. */
export function describeProvenance(
  {
    build: { buildId, request },
    base,
    by,
    reused,
    layer,
    before,
    installed,
    repositories,
    startedAt,
    finishedAt,
  }: ProvenBuild,
  artifacts: readonly Artifact[],
  builderId: string,
): Readonly<Record<string, unknown>> {
  const { url, sha256, ...evidence } = describeBase(base);
  const packages = packageMaterials({ before: before.packages, installed, system: systemOf(before) });
  return provenanceStatement({
    subjects: artifacts.map(({ name, checksums }) => ({ name, digest: checksums })),
    externalParameters: {
      ticket_id: request.ticket_id,
      ...showRequest(keepRequest(request, request.callback_url ?? null)),
    },
    internalParameters: { ...by, ...(reused === null ? {} : { reused }), ...(layer === null ? {} : { layer }) },
    materials: [
      { name: 'base image', uri: url, digest: { sha256 }, annotations: evidence },
      ...repositoryMaterials(repositories, packages),
      ...packages.map(({ material }) => material),
    ],
    ...{ builderId, version, buildId, startedAt, finishedAt },
  });
}
