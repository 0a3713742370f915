import { ImageBuilderError } from '../errors.ts';
import type { GuestScript, GuestSession } from '../guest/guest.ts';
import { formatBytes } from '../text.ts';

/** Counts the output of the scripts of a build. A package whose script writes without end would keep a worker busy. */
export interface OutputLimit {
  /** Aborted with `guest.limit` when the output was too much. */
  readonly exceeded: AbortSignal;
  /** The session, with its scripts' output counted. */
  around(session: GuestSession): GuestSession;
}

/** A shorter line counts as this many bytes, because handling a line takes time whatever its length. */
const leastLineBytes = 64;

/** At most `maximumBytes` of standard output, errors and status lines together. */
export function limitOutput(maximumBytes: number): OutputLimit {
  const limit = new AbortController();
  let bytes = 0;
  const count = (line: string) => {
    bytes += Math.max(leastLineBytes, line.length + 1);
    if (bytes <= maximumBytes || limit.signal.aborted) return;
    const message = `what runs inside the image wrote more than ${formatBytes(maximumBytes)} of output, which IMAGEBUILDER_MAXIMUM_LOG does not allow`;
    limit.abort(new ImageBuilderError('guest.limit', message));
  };
  const counted = (script: GuestScript): GuestScript => ({
    ...script,
    onLine(line, stream) {
      count(line);
      if (!limit.signal.aborted) script.onLine?.(line, stream);
    },
    onStatusLine(line) {
      count(line);
      if (!limit.signal.aborted) script.onStatusLine?.(line);
    },
  });
  return {
    exceeded: limit.signal,
    around: (session) => ({ ...session, run: (script) => session.run(counted(script)) }),
  };
}
