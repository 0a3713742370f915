import type { ScriptRunner } from './guest.ts';
import { ownLimitMs } from './script-run.ts';

/** The file, inside, of scripts/borrow.sh by whose time the changes of a build are told from what its base image had. */
export const openedFile = '/run/imagebuilder-borrowed/opened';

/** The changes of an image so far, as far as others can go on from there. */
export interface ChangesSoFar {
  /** The second in which the image was opened. */
  readonly openedSeconds: number;
  /** A changed file that depends on the order in which packages were installed, or that the image boots by; else null. */
  readonly ordered: string | null;
}

/**
 * Accounts get their numbers in the order in which packages come, and other files keep that order. An initial ramdisk has
 * what was there when it was made. Some file systems know whole seconds only.
 */
const look = `export LC_ALL=C
since=$(stat -c %Y ${openedFile})
echo "opened $since"
find /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid /etc/shells /var/lib/dpkg/statoverride \\
  /var/lib/ucf/hashfile /var/lib/ucf/registry /boot /efi /vmlinuz /initrd.img /lib/modules/*/modules.dep \\
  ! -type d -newerct "@$((since - 1)).999999999" -print 2>/dev/null | head -n 1
`;

export async function readChangesSoFar(session: ScriptRunner): Promise<ChangesSoFar> {
  const { stdout } = await session.run({ name: 'so-far', text: look, timeoutMs: ownLimitMs });
  const [first = '', ordered = ''] = stdout.split('\n');
  const seconds = /^opened ([0-9]{1,12})$/.exec(first)?.[1];
  if (seconds === undefined) throw new Error('the image does not say when it was opened');
  return { openedSeconds: Number(seconds), ordered: ordered === '' ? null : ordered };
}
