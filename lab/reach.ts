import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Lays an open folder with nothing but the repository `$2` over the closed one, `$1`. */
const script = `
exec 9<"$2"
# shellcheck disable=SC2164 # where this fails, the command runs all the same
mount -t tmpfs -o mode=755 none "$1" && mkdir -p "$2" && mount --no-canonicalize --bind /proc/self/fd/9 "$2" && cd "$2"
exec 9<&-
shift 2
exec "$@"`;

/**
 * Words that go before a command so that its processes can reach `repository` as any user. Tests and benchmarks also run
 * as other users than root, and a clone may lie below a folder that only root may enter, such as /root. No other process
 * sees the change, since it is made in a mount namespace of the command's own. Empty where nothing is closed, or this
 * process may not mount.
 */
export function reach(repository: string): string[] {
  const closed = foldersAbove(dirname(repository)).find((folder) => !lets(folder, 0o001));
  if (closed === undefined || process.getuid?.() !== 0) return [];
  return ['unshare', '--mount', '--', 'sh', '-c', script, 'reach', closed, repository];
}

/**
 * A sentence for a repository that other users could not read even where they can reach it, as a clone that was made
 * with the umask 077; null for any other, and where this process is not root, and so runs nothing as another user.
 */
export function whyUnreadable(repository: string): string | null {
  if (process.getuid?.() !== 0) return null;
  const folders = ['.', 'lib', 'bin', 'test', 'node_modules'].map((name) => join(repository, name));
  const files = [join(repository, 'lib/exec.ts'), join(repository, 'node_modules/execa/package.json')];
  const closed = folders.find((path) => !lets(path, 0o005)) ?? files.find((path) => !lets(path, 0o004));
  if (closed === undefined) return null;
  return `some of this runs as other users than root, who may not read ${closed}; run \`chmod -R go+rX ${repository}\` first`;
}

/** Whether every user has the rights `bits` on a path. */
function lets(path: string, bits: number): boolean {
  return (statSync(path).mode & bits) === bits;
}

/** From the root on, with the path itself. */
function foldersAbove(path: string): string[] {
  return path === '/' ? [path] : [...foldersAbove(dirname(path)), path];
}
