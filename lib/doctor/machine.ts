import { readFile } from 'node:fs/promises';
import { arch, release } from 'node:os';
import { lineAfter } from '../text.ts';
import type { Finding } from './finding.ts';

/** Looks at the machine or container, and at the user of this process in it. */

/** Describes the system, and the user with the rights that the kernel gives it. */
export async function lookAtMachine(): Promise<Finding[]> {
  const [osRelease, status] = await Promise.all(
    ['/etc/os-release', '/proc/self/status'].map((path) => readFile(path, 'utf8').catch(() => '')),
  );
  const name = lineAfter(osRelease ?? '', 'PRETTY_NAME=')?.replaceAll('"', '') ?? 'an unknown system';
  return [
    { what: 'system', ok: true, detail: `${name}, Linux ${release()}, ${arch()}, Node.js ${process.versions.node}` },
    { what: 'user', ok: true, detail: describeUser(process.getuid?.() ?? -1, status ?? '') },
  ];
}

/** CAP_SYS_ADMIN, which mounting needs: capabilities(7), linux/capability.h. */
const sysAdmin = 1n << 21n;

/** Describes the user of the process, from the text of its /proc/PID/status. */
export function describeUser(userId: number, status: string): string {
  const field = (key: string) => lineAfter(status, `${key}:`)?.trim();
  const effective = BigInt(`0x${field('CapEff') ?? '0'}`);
  const mayMount = (effective & sysAdmin) !== 0n;
  const parts = [
    userId === 0 ? 'root' : `user ${userId}, not root`,
    mayMount
      ? 'with CAP_SYS_ADMIN'
      : effective === 0n
        ? 'without capabilities'
        : 'without CAP_SYS_ADMIN, so it may not mount',
    ...(field('NoNewPrivs') === '1' ? ['no new privileges'] : []),
    ...(field('Seccomp') === '2' ? ['system calls filtered (seccomp)'] : []),
  ];
  return parts.join(', ');
}
