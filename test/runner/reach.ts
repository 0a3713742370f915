import { statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Lays an open folder with nothing but the repository `$2` over the closed one, `$1`. */
const script = `
exec 9<"$2"
# shellcheck disable=SC2164 # where this fails, the command runs all the same
mount -t tmpfs -o mode=755 none "$1" && mkdir -p "$2" && mount --no-canonicalize --bind /proc/self/fd/9 "$2" && cd "$2"
exec 9<&-
shift 2
exec "$@"`;

/**
 * Words that go before a command so that its processes can reach `repository` as any user. Tests also run as other
 * users than root, and a clone may lie below a folder that only root may enter, such as /root. No other process sees
 * the change, since it is made in a mount namespace of the command's own. Empty where nothing is closed, or this
 * process may not mount.
 */
export function reach(repository: string): string[] {
  const closed = foldersAbove(repository).find((folder) => (statSync(folder).mode & 0o001) === 0);
  if (closed === undefined || process.getuid?.() !== 0) return [];
  return ['unshare', '--mount', '--', 'sh', '-c', script, 'reach', closed, repository];
}

/** From the root on, with the path itself. */
function foldersAbove(path: string): string[] {
  return path === '/' ? [path] : [...foldersAbove(dirname(path)), path];
}
