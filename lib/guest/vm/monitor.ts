import type { Duplex } from 'node:stream';
import { z } from 'zod';
import { ImageBuilderError } from '../../errors.ts';
import { collectLines } from '../../exec.ts';

/** Gives orders to a QEMU by its monitor (QMP), one at a time. */
export interface Monitor {
  /** The answer. Throws `guest.failed` where QEMU refuses the order. */
  order(execute: string, words?: object): Promise<unknown>;
}

/** The other lines are its greeting and its events. */
const answerSchema = z.union([
  z.object({ return: z.json() }),
  z.object({ error: z.object({ desc: z.string() }).transform(({ desc }) => desc) }),
]);

export function openMonitor(stream: Duplex): Monitor {
  let answered: (answer: z.output<typeof answerSchema>) => void = () => {};
  stream.on('error', () => undefined);
  collectLines(stream, (line) => {
    const answer = answerSchema.safeParse(parseJson(line));
    if (answer.success) answered(answer.data);
  });
  return {
    async order(execute, words = {}) {
      const answer = await new Promise<z.output<typeof answerSchema>>((resolve) => {
        answered = resolve;
        stream.write(`${JSON.stringify({ execute, arguments: words })}\n`);
      });
      if ('return' in answer) return answer.return;
      throw new ImageBuilderError('guest.failed', `QEMU refuses ${execute}: ${answer.error}`);
    },
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
