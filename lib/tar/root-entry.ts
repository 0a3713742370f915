import type { Member } from './members.ts';
import type { PaxRecords } from './pax.ts';

/** A file of a root file system, as its archive has it. Each character of its paths is one byte. */
export interface RootEntry extends Omit<Member, 'records' | 'header' | 'form'> {
  /** Of a symbolic link; of a hard link, the path of the file. */
  readonly target: string;
  /** Its attributes, by the keywords of extended headers; ACLs as the kernel has them, but in a part. */
  readonly attributes: PaxRecords;
}
