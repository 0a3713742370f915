/** Bytes of an image that are those of its base (lib/image/shared-runs.ts). */
export interface CommonRun {
  /** Their place in the image. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** Their place in the base image. */
  readonly baseBytes: number;
}
