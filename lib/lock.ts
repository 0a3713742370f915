import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { execa } from 'execa';
import { ImageBuilderError } from './errors.ts';

/**
 * Takes the kernel's flock on `path` (created, with its folder, when missing) and holds it until disposed. Between
 * processes as well as within one; the kernel frees it when this process dies, however it dies, because the helper
 * that holds it ends with its standard input. Waits without limit unless `signal` aborts, then throws its reason.
 */
export async function lock(
  path: string,
  options: { readonly shared?: boolean; readonly signal?: AbortSignal } = {},
): Promise<AsyncDisposable> {
  options.signal?.throwIfAborted();
  await mkdir(dirname(path), { recursive: true });
  const mode = options.shared === true ? '--shared' : '--exclusive';
  const holder = execa('flock', [mode, path, 'sh', '-c', 'echo locked; cat >/dev/null'], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
    buffer: false,
    reject: false,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  });
  const locked = await new Promise<boolean>((resolve) => {
    holder.stdout.once('data', () => resolve(true));
    void holder.finally(() => resolve(false));
  });
  if (!locked) {
    options.signal?.throwIfAborted();
    const { exitCode, originalMessage } = await holder;
    throw new ImageBuilderError(
      'tool.failed',
      `cannot lock ${path}: flock (util-linux) ended with ${exitCode ?? originalMessage}`,
    );
  }
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await holder;
    },
  };
}
