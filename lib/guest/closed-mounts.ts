import { ImageBuilderError } from '../errors.ts';
import { ExecError } from '../exec.ts';
import { shellWords } from '../shell-scripts.ts';
import { lineAfter, plain } from '../text.ts';
import type { ScriptRunner } from './guest.ts';
import { openedFile } from './opened.ts';
import type { ClosedMount } from './plan-mounts.ts';
import { ownLimitMs } from './script-run.ts';

/**
 * Finds a file below the folders $1… that has changed since the image was opened (borrow.sh), if there is one. An open mount
 * point below a closed one is another file system, and left out. Most closed ones are empty, which the shell sees by itself.
 */
const search = `
find_hidden() {
  export LC_ALL=C
  since=$(stat -c %Y ${openedFile}) || exit 1
  for target; do
    for entry in "$target"/* "$target"/.[!.]* "$target"/..?*; do
      if [ ! -e "$entry" ] && [ ! -L "$entry" ]; then continue; fi
      find "$target" -xdev ! -type d -exec stat -c '%Z %n' {} + |
        awk -v since="$since" '$1 >= since { print substr($0, length($1) + 2); exit }'
      break
    done
  done
}
`;

/** Shell text that ends a script, with a line for `hiddenError`, where a file below a closed mount point has changed. */
export function renderHiddenSearch(closed: readonly ClosedMount[]): string {
  const targets = hiddenBy(closed).map(({ target }) => target);
  if (targets.length === 0) return '';
  return `${search}
found=$(find_hidden ${shellWords(targets)}) || exit 1
[ -z "$found" ] || { printf 'hidden: %s\\n' "$found" >&2; exit 66; }
`;
}

/**
 * Throws `image.unsupported` where the build has made or changed a file below a closed mount point of the image: its own
 * boot would hide that.
 */
export async function assertHiddenUntouched(session: ScriptRunner, closed: readonly ClosedMount[]): Promise<void> {
  const text = renderHiddenSearch(closed);
  if (text === '') return;
  try {
    await session.run({ name: 'closed', text, timeoutMs: ownLimitMs });
  } catch (error) {
    throw hiddenError(error, closed) ?? error;
  }
}

/** The error of a script that `renderHiddenSearch` has ended; null where another reason has. */
export function hiddenError(error: unknown, closed: readonly ClosedMount[]): ImageBuilderError | null {
  const found = error instanceof ExecError ? lineAfter(error.stderr, 'hidden: ') : undefined;
  if (found === undefined) return null;
  const hidden = hiddenBy(closed);
  const mount = hidden.find(({ target }) => found.startsWith(`${target}/`)) ?? hidden[0];
  return new ImageBuilderError(
    'image.unsupported',
    `the change has written ${plain(found)}, which the image hides when it boots: ${mount?.target} is a mount point ` +
      `there, and stayed closed here: ${mount?.reason}`,
    { cause: error },
  );
}

const hiddenBy = (closed: readonly ClosedMount[]) => closed.filter(({ reason }) => reason !== null);
