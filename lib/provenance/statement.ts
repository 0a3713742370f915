import type { Checksums } from '../api/image-result.ts';

/**
 * The statement of an image's provenance: in-toto Statement v1 (https://in-toto.io/Statement/v1) with the predicate of
 * SLSA (https://slsa.dev/spec/v1.0/provenance).
 */

export const statementType = 'https://in-toto.io/Statement/v1';
export const predicateType = 'https://slsa.dev/provenance/v1';
/** The meaning of the parameters, which docs/artifacts.md describes. */
export const buildType = 'urn:imagebuilder:build-image:v1';

/** A file that the statement is about. */
export interface Subject {
  readonly name: string;
  readonly digest: Checksums;
}

/** A thing that went into the build: a ResourceDescriptor of in-toto. */
export interface Material {
  readonly name: string;
  readonly uri?: string;
  readonly digest?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, unknown>>;
}

export interface ProvenanceFacts {
  readonly subjects: readonly Subject[];
  /** The request, without what may be secret. */
  readonly externalParameters: Readonly<Record<string, unknown>>;
  readonly internalParameters: Readonly<Record<string, unknown>>;
  readonly materials: readonly Material[];
  /** URI of the service that has run the build. */
  readonly builderId: string;
  readonly version: string;
  readonly buildId: string;
  readonly startedAt: Date;
  readonly finishedAt: Date;
}

/** The statement, ready to be signed as JSON. */
export function provenanceStatement(facts: ProvenanceFacts): Readonly<Record<string, unknown>> {
  return {
    _type: statementType,
    subject: facts.subjects.map(({ name, digest: { sha256, sha512 } }) => ({ name, digest: { sha256, sha512 } })),
    predicateType,
    predicate: {
      buildDefinition: {
        buildType,
        externalParameters: facts.externalParameters,
        internalParameters: facts.internalParameters,
        resolvedDependencies: facts.materials,
      },
      runDetails: {
        builder: { id: facts.builderId, version: { imagebuilder: facts.version } },
        metadata: {
          invocationId: facts.buildId,
          startedOn: facts.startedAt.toISOString(),
          finishedOn: facts.finishedAt.toISOString(),
        },
      },
    },
  };
}
