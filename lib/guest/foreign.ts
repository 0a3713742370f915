import { runsOn, workerArchitecture } from '../architecture.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Guest, GuestDisk, GuestOptions, GuestSession } from './guest.ts';

/** The host guest, with the vm in its place for images whose programs it cannot run. The vm must need no more room. */
export function withVmForForeign(host: Guest, vm: Guest): Guest {
  const orVm =
    (opener: Pick<Guest, 'open'>) =>
    async (disk: GuestDisk, options: GuestOptions): Promise<GuestSession> => {
      try {
        return await opener.open(disk, options);
      } catch (error) {
        const isForeign = disk.architecture !== undefined && !runsOn(workerArchitecture, disk.architecture);
        if (!isForeign || !(error instanceof ImageBuilderError) || error.code !== 'guest.unavailable') throw error;
        options.onNotice(`${error.message}; a vm does, which is slower`);
        return await vm.open(disk, options);
      }
    };
  return {
    kind: host.kind,
    scratchBytes: host.scratchBytes,
    open: orVm(host),
    async prepare(place, signal) {
      const prepared = await host.prepare?.(place, signal);
      return {
        open: orVm(prepared ?? host),
        [Symbol.asyncDispose]: async () => await prepared?.[Symbol.asyncDispose](),
      };
    },
  };
}
