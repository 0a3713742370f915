import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { cleanEnvironment } from './exec.ts';

/**
 * The programs that a worker calls, each with the Debian package that has it. A test compares them with the installed
 * ones.
 */

/** The builds that call a program: every build, or only those with this guest, or with an image of this kind. */
export type ToolUser = 'build' | 'host' | 'vm' | 'cd' | 'touch';

export interface Tool {
  readonly name: string;
  readonly package: string;
  readonly users: readonly ToolUser[];
}

const tool = (name: string, packageName: string, ...users: ToolUser[]): Tool => ({
  name,
  package: packageName,
  users,
});

/** All tools but the emulator of the vm and its busybox, which `lib/guest/vm` finds by rules of its own. */
export const tools: readonly Tool[] = [
  tool('setpriv', 'util-linux', 'build', 'host', 'vm'),
  tool('prlimit', 'util-linux', 'build', 'vm'),
  tool('flock', 'util-linux', 'build'),
  tool('cp', 'coreutils', 'build'),
  tool('gpg', 'gpg', 'build'),
  tool('gpgv', 'gpgv', 'build'),
  tool('xz', 'xz-utils', 'build'),
  tool('bzip2', 'bzip2', 'build'),
  tool('qemu-img', 'qemu-utils', 'build', 'host', 'vm'),
  tool('qemu-storage-daemon', 'qemu-system-common', 'host'),
  tool('mount', 'mount', 'host'),
  tool('umount', 'mount', 'host'),
  tool('losetup', 'mount', 'host'),
  tool('unshare', 'util-linux', 'host'),
  tool('nsenter', 'util-linux', 'host'),
  tool('fstrim', 'util-linux', 'host'),
  tool('resize2fs', 'e2fsprogs', 'host'),
  tool('tar', 'tar', 'host', 'vm'),
  // Essential on Debian and Ubuntu.
  tool('ldd', 'libc-bin', 'vm'),
  tool('crun', 'crun', 'host'),
  // Essential on Debian and Ubuntu.
  tool('perl', 'perl-base', 'host'),
  tool('apt-get', 'apt', 'vm'),
  // For images of another architecture.
  tool('depmod', 'kmod', 'touch'),
  tool('dpkg-deb', 'dpkg', 'touch'),
  tool('qemu-arm-static', 'qemu-user-static', 'touch'),
  tool('mke2fs', 'e2fsprogs', 'cd'),
  tool('mksquashfs', 'squashfs-tools', 'cd'),
  tool('xorriso', 'xorriso', 'cd'),
];

/** The tools that `user` calls. */
export function toolsOf(user: ToolUser): readonly Tool[] {
  return tools.filter(({ users }) => users.includes(user));
}

/** The packages of those tools that are not installed here, without repetition. */
export async function missingPackages(wanted: readonly Tool[]): Promise<string[]> {
  const missing = new Set<string>();
  for (const { name, package: packageName } of wanted) {
    if ((await findTool(name)) === null) missing.add(packageName);
  }
  return [...missing];
}

/** Path of a program where `exec` finds it, null where it does not. */
export async function findTool(name: string, searchPath: string = cleanEnvironment.PATH): Promise<string | null> {
  for (const folder of searchPath.split(':')) {
    const path = join(folder, name);
    const found = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return path;
  }
  return null;
}
