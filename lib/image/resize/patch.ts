/** Bytes to be written at a place of a disk. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Buffer;
}
