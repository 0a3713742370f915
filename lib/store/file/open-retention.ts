import { isNodeError } from '../../errors.ts';
import { applyRetention, type RetentionOptions } from './retention.ts';

/** Applies the retention of the file store in the background, once at a time. */
export interface Retention extends AsyncDisposable {
  /** Applies it soon, once more where that is under way. Never throws. */
  apply(): void;
}

export function openRetention(options: RetentionOptions): Retention {
  let wanted = false;
  let running: Promise<void> | null = null;
  const run = async () => {
    while (wanted) {
      wanted = false;
      try {
        await applyRetention(options);
      } catch (error) {
        // Where there is no folder, nothing was stored.
        if (isNodeError(error) && error.code === 'ENOENT') continue;
        options.log.warn('the retention of the file store cannot be applied', { error });
      }
    }
    running = null;
  };
  return {
    apply() {
      wanted = true;
      running ??= run();
    },
    async [Symbol.asyncDispose]() {
      await running;
    },
  };
}
