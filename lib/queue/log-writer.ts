import { onAbort, pause, within } from '../async.ts';
import { type LogChunk, maximumChunkBytes, newChunk } from './log-chunk.ts';

/**
 * Writes the log of one attempt at a build to the logs stream while it runs. Never holds up the build: where RabbitMQ is
 * slow or away, lines are dropped, and a line in their place says how many.
 */
export interface LogWriter {
  /** Adds a line, which is clean and bounded. */
  add(line: string): void;
  /** Sends the rest, and after it that the build ends where `isEnd` is true; gives up after some seconds. Never rejects. */
  close(isEnd: boolean): Promise<void>;
}

export interface LogWriterOptions {
  readonly buildId: string;
  readonly attempt: number;
  /** Limit of the text. */
  readonly maximumBytes: number;
  /** Resolves when RabbitMQ has the chunk safe; throws where it does not within some seconds. */
  readonly send: (chunk: LogChunk) => Promise<void>;
}

/** Lines of this time go into one message. */
const gatherMs = 300;
/** Most text that waits for RabbitMQ. */
const maximumWaitingBytes = 1024 * 1024;
const retryMs = 500;
const closeMs = 3_000;

/** Starts writing; nothing is sent before the first line. */
export function createLogWriter({ buildId, attempt, maximumBytes, send }: LogWriterOptions): LogWriter {
  const closing = new AbortController();
  const givenUp = new AbortController();
  let waiting: string[] = [];
  let waitingBytes = 0;
  let takenBytes = 0;
  let sentBytes = 0;
  let dropped = 0;
  let isFull = false;
  let sending: Promise<void> | undefined;

  const push = (line: string) => {
    const text = `${line}\n`;
    const bytes = Buffer.byteLength(text);
    waiting.push(text);
    waitingBytes += bytes;
    takenBytes += bytes;
    sending ??= sendAll();
  };

  const noteDropped = () => {
    if (dropped > 0) push(`(${dropped} lines are missing here: RabbitMQ did not take them in time)`);
    dropped = 0;
  };

  /** The oldest lines that fit into a chunk. */
  const takeChunk = (): LogChunk => {
    let count = 0;
    let bytes = 0;
    for (const text of waiting) {
      const next = Buffer.byteLength(text);
      if (count > 0 && bytes + next > maximumChunkBytes) break;
      bytes += next;
      count += 1;
    }
    const text = waiting.slice(0, count).join('');
    waiting = waiting.slice(count);
    waitingBytes -= bytes;
    return newChunk({ buildId, attempt, from: sentBytes, end: false }, text);
  };

  /** Sends one chunk after the other, each until RabbitMQ has it: one that has come twice is read once. */
  const deliver = async (chunk: LogChunk) => {
    while (!givenUp.signal.aborted) {
      try {
        await send(chunk);
        sentBytes += chunk.bytes;
        return;
      } catch {
        await pause(retryMs, givenUp.signal);
      }
    }
  };

  const sendAll = async () => {
    while (waiting.length > 0 && !givenUp.signal.aborted) {
      if (waitingBytes < maximumChunkBytes) await pause(gatherMs, closing.signal);
      await deliver(takeChunk());
    }
    sending = undefined;
  };

  const sendRest = async (isEnd: boolean) => {
    noteDropped();
    await sending;
    if (isEnd) await deliver(newChunk({ buildId, attempt, from: sentBytes, end: true }, ''));
  };

  return {
    add(line) {
      if (isFull || closing.signal.aborted) return;
      const bytes = Buffer.byteLength(line) + 1;
      if (takenBytes + bytes > maximumBytes) {
        isFull = true;
        noteDropped();
        push(
          '(the log is larger than IMAGEBUILDER_MAXIMUM_LOG: the end of it is in the store when the build has ended)',
        );
      } else if (waitingBytes + bytes > maximumWaitingBytes) {
        dropped += 1;
      } else {
        noteDropped();
        push(line);
      }
    },
    async close(isEnd) {
      closing.abort();
      using _limit = onAbort(AbortSignal.timeout(closeMs), () => givenUp.abort());
      await within(sendRest(isEnd), closeMs + retryMs).catch(() => {});
      givenUp.abort();
    },
  };
}
