/** The messages between the worker and the supervisor of one guest, over Node's IPC channel. */

/** The only argument of the supervisor, as JSON. */
export interface SupervisorSettings {
  /** The qcow2 overlay; it need not be there yet. */
  readonly overlayPath: string;
  /** An empty file, over which the disk appears as a raw one inside the namespaces. */
  readonly exportPath: string;
  /** The cgroups of the processes in the namespaces, to be removed after them. */
  readonly cgroups: readonly string[];
}

export type FromWorker =
  /** The overlay is there: export it, and make the namespaces. */
  | { readonly type: 'begin' }
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
