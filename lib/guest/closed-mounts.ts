import { ImageBuilderError } from '../errors.ts';
import { plain } from '../text.ts';
import type { ScriptRunner } from './guest.ts';
import { openedFile } from './opened.ts';
import type { ClosedMount } from './plan-mounts.ts';
import { ownLimitMs } from './script-run.ts';

/**
 * Prints a file below the folders $1… that has changed since the image was opened (borrow.sh), if there is one. An open mount
 * point below a closed one is another file system, and left out.
 */
const search = `export LC_ALL=C
since=$(stat -c %Y ${openedFile}) || exit 1
for target; do
  [ -d "$target" ] || continue
  find "$target" -xdev ! -type d -exec stat -c '%Z %n' {} +
done | awk -v since="$since" '$1 >= since { print substr($0, length($1) + 2); exit }'
`;

/**
 * Throws `image.unsupported` where the build has made or changed a file below a closed mount point of the image: its own
 * boot would hide that.
 */
export async function assertHiddenUntouched(session: ScriptRunner, closed: readonly ClosedMount[]): Promise<void> {
  const hidden = closed.filter(({ reason }) => reason !== null);
  if (hidden.length === 0) return;
  const targets = hidden.map(({ target }) => target);
  const script = { name: 'closed', text: search, arguments: targets, timeoutMs: ownLimitMs };
  const { stdout } = await session.run(script);
  const found = stdout.trimEnd();
  if (found === '') return;
  const mount = hidden.find(({ target }) => found.startsWith(`${target}/`)) ?? hidden[0];
  throw new ImageBuilderError(
    'image.unsupported',
    `the change has written ${plain(found)}, which the image hides when it boots: ${mount?.target} is a mount point ` +
      `there, and stayed closed here: ${mount?.reason}`,
  );
}
