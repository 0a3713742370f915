import { Worker } from 'node:worker_threads';
import { onAbort } from '../async.ts';

/** A thread that answers each message with one of its own, in their order. Disposing ends it. */
export interface AnsweringThread<Question, Answer> extends AsyncDisposable {
  /** Throws the reason of the thread's signal, or the error that has ended the thread. */
  ask(question: Question): Promise<Answer>;
}

export interface ThreadOptions {
  /**
   * Path of its program. In JavaScript it takes 30 ms of the processor to start; for TypeScript, 70 ms: each thread loads
   * the program that strips types anew.
   */
  readonly path: string;
  readonly workerData: unknown;
  /** Ends the thread. */
  readonly signal: AbortSignal;
  /** The message of the error where it ends without one of its own. */
  readonly lost: string;
}

/** Starts a thread whose program answers as `AnsweringThread` says. Throws the reason of the signal. */
export function startAnsweringThread<Question, Answer>({
  path,
  workerData,
  signal,
  lost,
}: ThreadOptions): AnsweringThread<Question, Answer> {
  signal.throwIfAborted();
  // Not with the options of this process: a module that `--import` names would be loaded by each thread.
  const thread = new Worker(path, { workerData, execArgv: [] });
  const waiting: PromiseWithResolvers<Answer>[] = [];
  let failure: unknown = null;
  const fail = (reason: unknown) => {
    failure ??= reason;
    for (const { reject } of waiting.splice(0)) reject(failure);
  };
  thread.on('message', (answer: Answer) => waiting.shift()?.resolve(answer));
  thread.once('error', fail);
  thread.once('exit', () => fail(signal.reason ?? new Error(lost)));
  const listener = onAbort(signal, () => void thread.terminate());
  return {
    async ask(question) {
      if (failure !== null) throw failure;
      const answer = Promise.withResolvers<Answer>();
      waiting.push(answer);
      thread.postMessage(question);
      return await answer.promise;
    },
    async [Symbol.asyncDispose]() {
      listener[Symbol.dispose]();
      await thread.terminate();
    },
  };
}
