/** A reason why an image may not boot. */
export interface BootFault {
  /** The same for the same fault in two states of an image. */
  readonly id: string;
  /** For people. */
  readonly message: string;
  /** True where the image boots in spite of it, though not as one would expect. */
  readonly isMinor?: boolean;
}
