import { ImageBuilderError } from '../errors.ts';
import { plain } from '../text.ts';
import type { ScriptRunner } from './guest.ts';
import type { ClosedMount } from './plan-mounts.ts';
import { ownLimitMs } from './script-run.ts';

/** Guards what lies below the closed mount points of an image: its own boot would hide that. */
export interface ClosedMountGuard {
  /** Throws `image.unsupported` where a file below one of them was made or changed since the guard began. */
  assertUntouched(): Promise<void>;
}

/**
 * Prints a file below the folders $2… that has changed since $1 (seconds since 1970), if there is one. An open mount point
 * below a closed one is another file system, and left out.
 */
const search = `export LC_ALL=C
since=$1
shift
for target; do
  [ -d "$target" ] || continue
  find "$target" -xdev ! -type d -exec stat -c '%Z %n' {} +
done | awk -v since="$since" '$1 >= since { print substr($0, length($1) + 2); exit }'
`;

/** Begins to guard, before anything is changed. */
export async function guardClosedMounts(
  session: ScriptRunner,
  closed: readonly ClosedMount[],
): Promise<ClosedMountGuard> {
  const hidden = closed.filter(({ reason }) => reason !== null);
  if (hidden.length === 0) return { assertUntouched: async () => undefined };
  const { stdout: now } = await session.run({ name: 'clock', text: 'date +%s\n', timeoutMs: ownLimitMs });
  const targets = hidden.map(({ target }) => target);
  return {
    async assertUntouched() {
      const script = { name: 'closed', text: search, arguments: [now.trim(), ...targets], timeoutMs: ownLimitMs };
      const { stdout } = await session.run(script);
      const found = stdout.trimEnd();
      if (found === '') return;
      const mount = hidden.find(({ target }) => found.startsWith(`${target}/`)) ?? hidden[0];
      throw new ImageBuilderError(
        'image.unsupported',
        `the change has written ${plain(found)}, which the image hides when it boots: ${mount?.target} is a mount point ` +
          `there, and stayed closed here: ${mount?.reason}`,
      );
    },
  };
}
