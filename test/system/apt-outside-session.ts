import type { GuestSession } from '#lib/guest/guest.ts';
import type { Chroot } from './apt-chroot.ts';

/** A session in a chroot whose scripts have no network, not even a loopback interface that is up. */
export function sessionWithoutNetwork(chroot: Chroot): GuestSession {
  return {
    ...chroot.session(),
    network: false,
    async run(script) {
      const binds = script.folder === undefined ? [] : [{ source: script.folder, target: '/mnt' }];
      return await chroot.session({ binds }).run({
        ...script,
        text: 'ln -s /mnt "$JOB/folder"; exec unshare --net /bin/sh "$JOB/script-without-network" "$@"',
        files: { ...script.files, 'script-without-network': script.text },
      });
    },
  };
}
