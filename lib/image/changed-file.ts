import type { FileHandle } from 'node:fs/promises';
import type { CommonRun } from '../common-run.ts';
import { writeAll } from '../write-all.ts';
import { longRuns } from './shared-runs.ts';

/** A copy of a file that is changed in place, and remembers where. */
export interface ChangedFile {
  /** For reading. */
  readonly handle: FileHandle;
  /** Writes all of the bytes to a place. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** The long runs that the copy still has in common with the file. */
  unchanged(): CommonRun[];
}

/** Changes are remembered by blocks: one byte of memory for each. */
const blockBytes = 64 * 1024;

/** `sizeBytes`: those of the file, which the copy has as well. */
export function openChangedFile(handle: FileHandle, sizeBytes: number): ChangedFile {
  const changed = new Uint8Array(Math.ceil(sizeBytes / blockBytes));
  return {
    handle,
    async write(bytes, position) {
      changed.fill(1, Math.floor(position / blockBytes), Math.ceil((position + bytes.length) / blockBytes));
      await writeAll(handle, bytes, position);
    },
    unchanged() {
      const runs: CommonRun[] = [];
      for (let start = changed.indexOf(0); start !== -1; ) {
        const next = changed.indexOf(1, start);
        const end = next === -1 ? changed.length : next;
        const offsetBytes = start * blockBytes;
        runs.push({
          ...{ offsetBytes, baseBytes: offsetBytes },
          sizeBytes: Math.min(end * blockBytes, sizeBytes) - offsetBytes,
        });
        start = changed.indexOf(0, end);
      }
      return longRuns(runs);
    },
  };
}
