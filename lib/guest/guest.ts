import type { Server } from 'node:net';
import type { Partition } from '../image/partition.ts';
import type { ClosedMount } from './plan-mounts.ts';

/**
 * A guest gives root inside the file system of an image. It has two implementations, `host` (mount and chroot in
 * namespaces) and `vm`; scripts see no difference.
 */
export interface Guest {
  readonly kind: 'host' | 'vm';
  /** Most bytes that it writes to the work directory beside the overlay while it has an image open. */
  readonly scratchBytes: number;
  /**
   * Opens a disk for change. Throws `guest.unavailable` where this machine cannot do that, `image.unsupported` where the
   * image has no root file system that can be opened. Files that the image needs while it is open are put into it in front of
   * the first script, which throws `image.corrupt`, `image.full` or `image.unsupported` where that cannot be done.
   */
  open(disk: GuestDisk, options: GuestOptions): Promise<GuestSession>;
  /**
   * Starts the slow parts that need no image, before there is one; its `open` goes on from there. Missing where the
   * guest has no such parts.
   */
  prepare?(place: GuestPlace, signal: AbortSignal): Promise<PreparedGuest>;
}

/** A guest that is ready. Open it once, or else dispose it, which ends the processes started for it. */
export type PreparedGuest = AsyncDisposable & Pick<Guest, 'open'>;

export interface GuestPlace {
  /** Path of the overlay (qcow2, writable, its backing file the base image), which may not be there yet. */
  readonly overlayPath: string;
  /** An empty folder that only this build uses, for the guest's files on the worker's side. */
  readonly workDirectory: string;
  readonly buildId: string;
}

/** A qcow2 overlay over a base image: of a disk with partitions, or of a file that holds layers. */
export type GuestDisk = PartitionedDisk | LayeredDisk;

export interface PartitionedDisk extends OverlayDisk {
  readonly partitions: readonly Partition[];
  /** Number of the partition that has become larger; it must be the root's, whose file system is to grow. */
  readonly grown?: number | null;
  /** `close` writes the changes of the root to files; missing where nobody asks for them. */
  readonly changes?: TreeChanges;
}

/** The changes of a root file system, every inode of which had the same time of its last change before. */
export interface TreeChanges {
  /** That time, in seconds since 1970. */
  readonly untouchedSeconds: number;
  /** The paths that there were, in the order that the changes are to have; one character for each byte. */
  readonly members: readonly string[];
  /**
   * New file of the worker: a tar (pax) of the files that are new or changed by anything that the kernel counts as a change
   * of them, with names such as `./etc/passwd`. Those in /dev, /proc, /run, /sys and /tmp are left out, and those below a
   * folder of the worker. More bytes are `guest.limit`. The image chooses the content: read it as a stranger's.
   */
  readonly path: string;
  readonly maximumBytes: number;
  /** New file of the worker: the paths that are no more, with a zero byte behind each. */
  readonly gonePath: string;
}

/** Read-only file systems one above the other, as live media have them. Scripts inside see one file tree, and change it. */
export interface LayeredDisk extends OverlayDisk {
  /** The SquashFS file systems inside the base, the bottom one first. */
  readonly layers: readonly Region[];
  /** An ext4 in the overlay, behind the base: it takes the changes, in the folder `upper`. */
  readonly scratch: Region;
  /**
   * `close` writes the changes to a new file of the worker: a tar (pax) of the upper directory of a Linux overlay, whose
   * devices 0/0 and attributes `trusted.overlay.opaque` hide what lies below. More bytes are `guest.limit`. The image
   * chooses the content: read it as a stranger's. Missing where nobody asks for them.
   */
  readonly changes?: LayerChanges;
}

export interface LayerChanges {
  readonly path: string;
  readonly maximumBytes: number;
}

/** A part of the disk. */
export interface Region {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

interface OverlayDisk extends GuestPlace {
  readonly base: BaseFile;
  /** Architecture of its programs, by Debian's name; missing where it is one that the worker runs. */
  readonly architecture?: string;
  /** Further variables of scripts inside. */
  readonly environment?: Readonly<Record<string, string>>;
  /**
   * Files that this kind of image needs while it is open, and that `close` takes out: shell text behind scripts/borrow.sh,
   * with the functions of that.
   */
  readonly loans?: readonly string[];
  /**
   * The second, since 1970, from which on changes of the image count as this build's: where an earlier build has begun them.
   * Missing where the overlay has none.
   */
  readonly changedSince?: number;
}

/** The base image that an overlay lies on. */
export interface BaseFile {
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
}

export interface GuestOptions {
  readonly signal: AbortSignal;
  /** Called with news for users, such as a partition that this kernel cannot mount. */
  readonly onNotice: (message: string) => void;
  /** Folders of the worker that appear inside the image while it is open and are not part of it (apt's caches). */
  readonly binds: readonly GuestBind[];
  /** The proxy through which scripts reach the network; missing for no network. */
  readonly proxy?: GuestProxy;
  /** Called when the guest has seen how busy the machine is: other work of the build may begin. */
  readonly onMeasured?: (() => void) | undefined;
}

/** The worker's http proxy. */
export interface GuestProxy {
  /** Its address on the worker, such as `http://user:password@127.0.0.1:41234`. */
  readonly url: string;
  /** Serves connections of another socket, too, without asking for a password: only this build reaches that socket. */
  serve(listener: Server): void;
}

export interface GuestBind {
  /** Folder on the worker. */
  readonly source: string;
  /** Absolute folder inside the image; it is made where it is missing. */
  readonly target: string;
}

/** An opened image. Disposing it without `close` saves nothing: it only frees the resources. */
export interface GuestSession extends AsyncDisposable {
  readonly kind: 'host' | 'vm';
  /** True when scripts reach the network: http and https, through the worker's proxy (`http_proxy`, `https_proxy`). */
  readonly network: boolean;
  /** Address of the worker's proxy for scripts, when it differs from the proxy's own URL. */
  readonly proxyUrl?: string;
  /**
   * `programs` where programs inside are emulated one by one: each takes a second to start, and the worker's own do not. `machine`
   * where a whole machine is. Missing where the processor runs them.
   */
  readonly emulation?: 'programs' | 'machine';
  /** Mount points that are open, such as `/`, `/boot`, and those of the fstab that are not. */
  readonly mounted: readonly string[];
  readonly notMounted: readonly ClosedMount[];
  /**
   * Runs a POSIX shell script as root inside the image, with /bin/sh of the image; one at a time. Processes that it
   * leaves running end with it. Throws ExecError when it fails, or the reason of the signal; `guest.failed` when the
   * guest is lost meanwhile. After a cancelled script or one that ran out of time, the session can only be disposed.
   */
  run(script: GuestScript): Promise<GuestOutput>;
  /** Stops all processes inside, flushes, trims and detaches: afterwards the overlay holds every change. */
  close(): Promise<void>;
}

/** Runs scripts, inside an image or in its place: the only part of a session that most functions need. */
export type ScriptRunner = Pick<GuestSession, 'run'>;

export interface GuestScript {
  /** Short name for logs, such as `install`. */
  readonly name: string;
  readonly text: string;
  /** `$1`, `$2`, … of the script. No secrets. */
  readonly arguments?: readonly string[];
  /** Files that the script finds under `$JOB/`, read-only, readable by everyone, never part of the image. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /**
   * A folder of the worker whose regular files (not its subfolders) the script finds under `$JOB/folder/`, read-only:
   * for content too large for `files`, such as downloaded packages. It must not change while the script runs.
   */
  readonly folder?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly onLine?: (line: string, stream: 'stdout' | 'stderr') => void;
  /** Lines that the script writes to file descriptor 3: apt's status lines and our own. */
  readonly onStatusLine?: (line: string) => void;
  /**
   * For results too large for standard output, such as an archive: all that the script writes to file descriptor 4
   * becomes a new file of the worker, which is gone again when the script fails. More bytes are `guest.limit`, and the
   * session can only be disposed then. The image chooses the content: read it as a stranger's.
   */
  readonly outbox?: { readonly path: string; readonly maximumBytes: number };
  /**
   * No later script changes the image. A guest may then take out behind it, in the same go, what it has put into the image
   * for the time that it is open. Default: false.
   */
  readonly isLast?: boolean;
  readonly timeoutMs?: number;
}

export interface GuestOutput {
  readonly stdout: string;
  readonly stderr: string;
}
