import { readFile, stat } from 'node:fs/promises';

/** Users who may change a folder of ours, because they can control this process anyway. */
export interface Trust {
  /** This process. */
  readonly userId: number;
  /** Root, the user of this process, and the owner of its program (who may have started it with sudo). */
  isTrusted(userId: number): boolean;
  /** Whether all members of the group are trusted users. False for groups that /etc/group does not name. */
  isTrustedGroup(groupId: number): boolean;
  /** The user as `user 1000 (alice)`. */
  describe(userId: number): string;
}

/** Reads the trusted users, from the owners of this program and from /etc/passwd and /etc/group. */
export async function readTrust(userId: number = process.geteuid?.() ?? 0): Promise<Trust> {
  const { uid: programOwner } = await stat(import.meta.dirname);
  const users = (await readTable('/etc/passwd')).map(([name = '', , uid, gid]) => ({ name, uid, gid }));
  const groups = (await readTable('/etc/group')).map(([, , gid, members = '']) => ({ gid, members }));
  const trusted = new Set([0, userId, programOwner]);
  const isTrusted = (id: number) => trusted.has(id);
  const nameOf = (id: number) => users.find(({ uid }) => uid === String(id))?.name;
  return {
    userId,
    isTrusted,
    isTrustedGroup(groupId) {
      const group = groups.filter(({ gid }) => gid === String(groupId));
      if (group.length === 0) return false;
      const members = new Set(group.flatMap((one) => one.members.split(',')));
      const inGroup = users.filter(({ name, gid }) => gid === String(groupId) || members.has(name));
      return inGroup.every(({ uid }) => isTrusted(Number(uid)));
    },
    describe(id) {
      const name = nameOf(id);
      return id === 0 ? 'root' : `user ${id}${name === undefined ? '' : ` (${name})`}`;
    },
  };
}

/** The lines of passwd(5) or group(5), split into their fields; empty where there is no such file. */
async function readTable(path: string): Promise<string[][]> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => (line.includes(':') ? [line.split(':')] : []));
}
