import { ImageBuilderError } from '../errors.ts';

/** A file of a tree that becomes a file system. Each character of its names is one byte. */
export interface TreeMember {
  /** Below the root, without empty parts, `.` and `..`; empty for the root itself. */
  readonly path: string;
  /** `link` is a hard link, whose target is the path of an earlier member; its mode, ids and attributes are that one's. */
  readonly type: 'file' | 'link' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo';
  /** Permissions, with the bits of setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly modified: number;
  readonly target: string;
  /** Numbers of a device. */
  readonly major: number;
  readonly minor: number;
  /** Of a file: its content lies at this place of the source. */
  readonly contentAt: number;
  readonly sizeBytes: number;
  /** Extended attributes as the kernel gives them, by names such as `security.capability`. */
  readonly attributes: ReadonlyMap<string, Buffer>;
}

/** `image.unsupported` for a member that the file system has no place for. */
export function unsupported(path: string, reason: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', `${JSON.stringify(`/${path}`)} ${reason}`);
}

/** `image.corrupt` for a member that contradicts another one. */
export function corrupt(path: string, reason: string): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `${JSON.stringify(`/${path}`)} ${reason}`);
}
