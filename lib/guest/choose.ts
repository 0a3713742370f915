import { ImageBuilderError } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Guest } from './guest.ts';
import { createHostGuest } from './host/host-guest.ts';
import { probeHost } from './host/probe.ts';

export interface ChosenGuest {
  readonly guest: Guest;
  /** Why this one, for logs and for people. */
  readonly reason: string;
}

/**
 * The way in which this machine can open images, tried and not assumed. `directory` is for the files of the trial.
 * Throws `guest.unavailable`, naming all that is missing and how to get it.
 */
export async function chooseGuest(options: {
  readonly setting: 'auto' | 'host';
  readonly directory: string;
  readonly log: Log;
}): Promise<ChosenGuest> {
  const missing = await probeHost(options.directory);
  if (missing.length === 0) {
    const reason = options.setting === 'host' ? 'the setting says so' : 'this process may mount images';
    return { guest: createHostGuest({ log: options.log }), reason };
  }
  throw new ImageBuilderError('guest.unavailable', `images cannot be opened on this machine: ${missing.join('; ')}`);
}
