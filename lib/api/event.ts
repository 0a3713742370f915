import { z } from 'zod';
import { type ErrorCode, errorTable } from '../errors.ts';
import { VerifiedBy } from '../evidence.ts';
import { ExchangeName, TicketId } from './request.ts';

/** The one event about a build. The caller's exchange, the events stream and the callback all receive it. */

/** The steps of a build, in order, with their names as users see them. */
export const buildSteps = [
  'fetch',
  'inspect',
  'open',
  'sources',
  'install',
  'seal',
  'repack',
  'check',
  'upload',
] as const;
export const BuildStep = z.enum(buildSteps);
export type BuildStep = z.infer<typeof BuildStep>;

export const BuildState = z.enum(['queued', 'running', 'completed', 'failed', 'cancelled']);
export type BuildState = z.infer<typeof BuildState>;

/** True for the states that end a build: exactly one event with such a state is sent per build. */
export function isTerminal(state: BuildState): boolean {
  return state === 'completed' || state === 'failed' || state === 'cancelled';
}

/** Hex digests of the finished image. */
export const Checksums = z.object({
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sha512: z.string().regex(/^[0-9a-f]{128}$/),
});
export type Checksums = z.infer<typeof Checksums>;

/** The base image that a build began with. */
export const BaseImageReport = z.object({
  /** The URL of `url_list` that it came from, without user, password and query. */
  url: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  size: z.int().nonnegative().describe('bytes'),
  /** True when an earlier build had downloaded it from this URL. */
  from_cache: z.boolean(),
  verified_by: VerifiedBy,
  /** The list of checksums that names its digest, without query; null when there is none. */
  checksums_url: z.string().nullable(),
  /** The algorithms of the digests that were compared, none where no digest was named. */
  checksum_algorithms: z.array(z.enum(['sha256', 'sha384', 'sha512'])),
  /** Fingerprint of the key that signed the list; null where no such signature was checked. */
  signed_by: z.string().nullable(),
});
export type BaseImageReport = z.infer<typeof BaseImageReport>;

/** The finished image: its place, name, size and digests. */
export const ImageResult = z.object({
  /** The store's own identifier of the image; in the file store, the build id. */
  id: z.string(),
  /** A URL: `file://…`, Glance's `…/v2/images/ID`, or the object's. */
  location: z.string(),
  store: z.enum(['file', 'glance', 'swift']),
  name: z.string(),
  size: z.int().nonnegative().describe('bytes'),
  checksums: Checksums,
  format: z.enum(['qcow2', 'raw', 'tar.gz', 'tar.xz', 'iso']),
  region: z.string().optional(),
  /** A signed URL from which the image can be had without a token, where the store makes one, and its end. */
  download_url: z.url().optional(),
  download_url_expires: z.iso.datetime().optional(),
  /** Packages that were added or upgraded in comparison with the base image, with their versions. */
  packages: z
    .array(z.object({ name: z.string(), version: z.string(), previous_version: z.string().optional() }))
    .optional(),
  /** Packages of the base image that the change has removed, since they conflict with the new ones. */
  removed: z.array(z.object({ name: z.string(), version: z.string(), architecture: z.string() })).optional(),
  /** Numbers of further packages of the two lists, where an event has no room for all. */
  packages_omitted: z.int().positive().optional(),
  removed_omitted: z.int().positive().optional(),
  /**
   * News for people about the image: a mount point that could not be opened, and that nothing has written below; a
   * package that is not installed under the name that it was asked for by.
   */
  warnings: z.array(z.string()).optional(),
  base_image_sha256: z.string().optional(),
  base_image: BaseImageReport.optional(),
});
export type ImageResult = z.infer<typeof ImageResult>;

/** How a worker opens images. */
export const GuestReport = z.object({
  /** `host` mounts them, `vm` opens them in a small virtual machine. */
  kind: z.enum(['host', 'vm']),
  /**
   * How the virtual machine runs: on the processor (`kvm`) or in the emulator (`tcg`), which is slow. Null for `host`.
   */
  accelerator: z.enum(['kvm', 'tcg']).nullable(),
  /** Reason of the choice, for people. */
  reason: z.string(),
});
export type GuestReport = z.infer<typeof GuestReport>;

const errorCodes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]];

/** The reason why a build failed or was cancelled. */
export const BuildErrorReport = z.object({
  code: z.enum(errorCodes),
  message: z.string(),
  step: BuildStep.nullable(),
  fault: z.enum(['request', 'upstream', 'service']),
  retryable: z.boolean(),
  log_tail: z.array(z.string()).optional(),
});
export type BuildErrorReport = z.infer<typeof BuildErrorReport>;

export const BuildEvent = z.object({
  build_id: z.uuid(),
  ticket_id: TicketId,
  progress_trigger: ExchangeName,
  /** Rises by at least one with every event of a build; sort by it where order matters. */
  sequence: z.int().nonnegative(),
  /** How often a worker has started this build; 0 while it was never started. */
  attempt: z.int().nonnegative(),
  time: z.iso.datetime(),
  /** Name of the worker, null for events that no worker sent. */
  worker: z.string().nullable(),
  state: BuildState,
  step: BuildStep.nullable(),
  message: z.string(),
  /** How far the step is, in its own unit (bytes, packages); null where that is not known. */
  current: z.number().nonnegative().nullable(),
  total: z.number().nonnegative().nullable(),
  /** How far the whole build is, 0 to 1. */
  progress: z.number().min(0).max(1),
  /** The newest lines of the build's log since the event before, at most 20. */
  log: z.array(z.string()).max(20).optional(),
  /** How the worker opens images: in one event of each attempt, as soon as it is known. */
  guest: GuestReport.optional(),
  image: ImageResult.optional(),
  error: BuildErrorReport.optional(),
});
export type BuildEvent = z.infer<typeof BuildEvent>;
