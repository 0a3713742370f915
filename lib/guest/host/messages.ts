import type { UnprivilegedUser } from '../../privileges.ts';
import type { BaseFile } from '../guest.ts';

/** The messages between the worker and the supervisor of one guest, over Node's IPC channel. */

export interface SupervisorSettings {
  /** An empty file, over which the disk appears as a raw one inside the namespaces. */
  readonly exportPath: string;
  /** The cgroups of the processes in the namespaces, to be removed after them. */
  readonly cgroups: readonly string[];
}

/** The only argument of the supervisor, as JSON. */
export interface SupervisorArgument extends SupervisorSettings {
  /** The port of 127.0.0.1 that it listens at. */
  readonly port: number;
  /** Shell text of the storage daemon's last will. */
  readonly lastWill: string;
}

/** The disk that the storage daemon exports. */
export interface StorageDisk {
  /** A qcow2 file. The name of a base in its header counts for nothing. */
  readonly overlayPath: string;
  readonly base: BaseFile;
  /** The daemon's user, who may use both files; null for root without capabilities. */
  readonly user: UnprivilegedUser | null;
}

export type FromWorker =
  /** The overlay is there: export the disk, by `unshare` with these arguments, and make the namespaces. */
  | { readonly type: 'begin'; readonly storage: readonly string[] }
  /** A loop device (`loop3`) that lies on the exported disk: the storage daemon must not end before it is gone. */
  | { readonly type: 'loop'; readonly name: string }
  /** Take everything down, in order, and exit. */
  | { readonly type: 'stop' };

export type FromSupervisor =
  /** Sent with the socket that listens for the build's proxy in the network of the guest; comes before `started`. */
  | { readonly type: 'listening' }
  /** The disk and the namespaces are there: `processId` is their first process, as seen on the worker's side. */
  | { readonly type: 'started'; readonly processId: number }
  /** The storage daemon or the namespaces could not be started, or have ended on their own. Teardown follows. */
  | { readonly type: 'failed'; readonly message: string }
  /** Everything is gone. */
  | { readonly type: 'stopped' };

/** The port of 127.0.0.1 at which scripts reach the build's proxy, in the network namespace of the guest. */
export const proxyPort = 3128;
