import { createReadStream, createWriteStream, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';

/** A text file of bounded size as gzip: of a text that is too long, the beginning and the end. */
export interface LogFile {
  /** Adds a line. Throws Node's own errors where it cannot be written. */
  add(line: string): void;
  /** Puts everything in one file and resolves with its path; no line may follow. */
  finish(): Promise<string>;
}

/** Text that is compressed at a time. More of it is never in memory. */
const blockBytes = 256 * 1024;

interface Part {
  readonly path: string;
  /** Of the text. */
  bytes: number;
  lines: number;
}

/**
 * Writes into the empty folder `directory`. The text has at most `maximumBytes`: its first half is kept, and at least the
 * last quarter; a line between them says how many lines are left out.
 *
 * Each block is a gzip member of its own, and a sequence of members is a gzip file (RFC 1952, 2.2). So parts can be
 * dropped and joined as they are, and the file of a worker that died is whole up to its last block.
 */
export function createLogFile(directory: string, maximumBytes: number): LogFile {
  let number = 0;
  const newPart = (): Part => ({ path: join(directory, `part-${number++}.gz`), bytes: 0, lines: 0 });
  const head = newPart();
  /** The newest lines after the head, in two parts: when the later one is full, the earlier one is dropped. */
  let tail: readonly Part[] = [];
  let current = head;
  let leftOut = 0;
  let block: string[] = [];
  let inBlock = 0;

  function flush(): void {
    if (block.length > 0) append(current.path, block.join(''));
    block = [];
    inBlock = 0;
  }

  function nextPart(): void {
    flush();
    const [earlier, later] = tail;
    if (earlier !== undefined && later !== undefined) {
      rmSync(earlier.path, { force: true });
      leftOut += earlier.lines;
    }
    current = newPart();
    tail = [...tail.slice(-1), current];
  }

  return {
    add(line) {
      const text = `${line}\n`;
      const bytes = Buffer.byteLength(text);
      if (current.bytes + bytes > maximumBytes / (current === head ? 2 : 4)) nextPart();
      block.push(text);
      inBlock += bytes;
      current.bytes += bytes;
      current.lines += 1;
      if (inBlock >= blockBytes) flush();
    },
    async finish() {
      flush();
      if (leftOut > 0)
        append(head.path, `(${leftOut} lines left out here: the log is larger than IMAGEBUILDER_MAXIMUM_LOG)\n`);
      for (const { path } of tail) await pipeline(createReadStream(path), createWriteStream(head.path, { flags: 'a' }));
      return head.path;
    },
  };
}

function append(path: string, text: string): void {
  writeFileSync(path, gzipSync(text), { flag: 'a', mode: 0o600 });
}
