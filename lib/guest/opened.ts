import type { ScriptRunner } from './guest.ts';
import { type OwnFiles, readOwnFiles } from './own-files.ts';
import { guestScripts } from './script.ts';
import { ownLimitMs } from './script-run.ts';

/** The file, inside, of scripts/borrow.sh by whose time the changes of a build are told from what its base image had. */
export const openedFile = '/run/imagebuilder-borrowed/opened';

/** The changes of an image so far, as far as others can go on from there. */
export interface ChangesSoFar {
  /** The second in which the image was opened. */
  readonly openedSeconds: number;
  /** A changed file that depends on the order in which packages were installed, or that the image boots by; else null. */
  readonly ordered: string | null;
  /** Null where the image's tools could not list them. */
  readonly own: OwnFiles | null;
  /** The files among them that `sealImage` takes out. */
  readonly removed: ReadonlySet<string>;
}

/**
 * Accounts get their numbers in the order in which packages come, and other files keep that order. An initial ramdisk has
 * what was there when it was made. Some file systems know whole seconds only.
 */
const look = `since=$(stat -c %Y ${openedFile})
echo "opened $since"
find /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid /etc/shells /var/lib/dpkg/statoverride \\
  /var/lib/ucf/hashfile /var/lib/ucf/registry /boot /efi /vmlinuz /initrd.img /lib/modules/*/modules.dep \\
  ! -type d -newerct "@$((since - 1)).999999999" -printf 'ordered %p\\n' 2>/dev/null | head -n 1
`;
const { snapshot, identities, touched, 'own-files': ownFiles } = guestScripts;
/** The list of touched files itself is not needed. */
const text = [snapshot, identities, 'exec 4>/dev/null\n', touched, ownFiles, look].join('');

/** `folders` as for `sealImage`. */
export async function readChangesSoFar(session: ScriptRunner, folders: readonly string[]): Promise<ChangesSoFar> {
  const { stdout } = await session.run({ name: 'so-far', text, arguments: folders, timeoutMs: ownLimitMs });
  const lines = stdout.split('\n');
  const openedSeconds = Number(lines.findLast((line) => /^opened [0-9]{1,12}$/.test(line))?.slice('opened '.length));
  if (Number.isNaN(openedSeconds)) throw new Error('the image does not say when it was opened');
  const ordered = lines.findLast((line) => line.startsWith('ordered '))?.slice('ordered '.length) ?? null;
  const removed = new Set(lines.flatMap((line) => /^(?:there|identity|made [a-z-]+) (\/[^ ]*)/.exec(line)?.[1] ?? []));
  return { openedSeconds, ordered, own: readOwnFiles(stdout), removed };
}
