import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageResult } from '../api/image-result.ts';
import type { Installation } from '../apt/apt.ts';
import type { ImageFacts } from '../apt/facts.ts';
import type { Repositories } from '../apt/repositories/repository.ts';
import { cloneFile } from '../copy-file.ts';
import { openCache } from '../fetch/cache.ts';
import { leftoverAgeMs } from '../fetch/own-file.ts';
import type { TouchedFiles } from '../guest/touched-files.ts';
import { joinRest, type Rest } from '../image/shared-runs.ts';
import type { Licences } from '../manifest/licences.ts';
import type { Artifact } from '../store/artifact.ts';
import { addFile, addRecord, readRecord } from './cached-records.ts';
import type { MadeOf, PlanBasis } from './made-of.ts';
import type { BuiltBy } from './provenance.ts';

/** The content of a finished image, from which its documents and its result are made. */
export interface Content {
  /** The facts of the base image. */
  readonly before: ImageFacts;
  readonly installed: Installation;
  readonly repositories: Repositories | null;
  readonly touched: TouchedFiles | null;
  readonly licences: Licences;
  /** How the worker has opened it. */
  readonly by: BuiltBy;
  readonly packages: NonNullable<ImageResult['packages']>;
  readonly removed: NonNullable<ImageResult['removed']>;
  readonly warnings: readonly string[];
}

/** A build whose files are kept, so that the same request gets them once more. */
export interface FinishedBuild {
  readonly buildId: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly finishedAt: string;
  /** Beginning of the names of its files. */
  readonly baseName: string;
  readonly baseSha256: string;
  readonly basis: PlanBasis;
  readonly madeOf: MadeOf;
  readonly content: Content;
  /** The image first; without their paths. */
  readonly files: readonly KeptFile[];
}

export type KeptFile = Omit<Artifact, 'path' | 'sharedWithBase'> & {
  /** The kept file has only what the base image has not; missing: it is whole. */
  readonly rest?: Rest;
};

/**
 * The files of finished builds by the keys of their requests, the newest build of each. They lie in the folder `finished`
 * of the cache, as base images do in theirs: by digest, private, bounded, the least recently used dropped first.
 */
export interface FinishedBuilds {
  find(key: string): Promise<FinishedBuild | null>;
  /**
   * Puts a file of a build at `target`, as a link or a copy of its own; always as its own where only its rest is kept.
   * False where it is no longer there.
   */
  take(file: TakenFile, target: string, options: TakeOptions): Promise<boolean>;
  forget(key: string): Promise<void>;
  /** Moves the files into the cache: `paths` are in the order of `build.files`. */
  keep(key: string, build: FinishedBuild, paths: readonly string[], workDirectory: string): Promise<void>;
}

export async function openFinishedBuilds(cacheDirectory: string, maximumBytes: number): Promise<FinishedBuilds> {
  const cache = await openCache(join(cacheDirectory, finishedFolder), maximumBytes, leftoverAgeMs);
  return {
    find: (key) => readRecord<FinishedBuild>(cache, key),
    async take({ checksums, sizeBytes, rest }, target, { form, basePath, signal }) {
      if (form === 'link' && rest === undefined) return await cache.linkTo(checksums.sha256, target);
      const shared = `${target}.shared`;
      if (!(await cache.linkTo(rest?.sha256 ?? checksums.sha256, shared))) return false;
      if (rest === undefined) await cloneFile(shared, target, signal);
      else await joinRest({ restPath: shared, basePath, targetPath: target }, rest, sizeBytes, signal);
      await rm(shared);
      return true;
    },
    forget: (key) => cache.forget(key),
    async keep(key, build, paths, workDirectory) {
      for (const [index, { sizeBytes, checksums, rest }] of build.files.entries()) {
        const kept = rest ?? { sizeBytes, sha256: checksums.sha256 };
        await addFile(cache, paths[index] ?? '', {
          url: `${key}/${index}`,
          sizeBytes: kept.sizeBytes,
          sha256: kept.sha256,
        });
      }
      await addRecord(cache, key, build, workDirectory);
      await cache.evict();
    },
  };
}

export type TakenFile = Pick<KeptFile, 'checksums' | 'sizeBytes' | 'rest'>;

export interface TakeOptions {
  readonly form: 'link' | 'copy';
  /** The base image of the build. */
  readonly basePath: string;
  readonly signal: AbortSignal;
}

/** Of the cache's folder. */
export const finishedFolder = 'finished';
