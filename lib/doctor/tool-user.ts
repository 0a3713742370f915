import type { ToolSettings } from '../config/tools.ts';
import { whyToolsStayRoot } from '../unprivileged.ts';
import type { Finding } from './finding.ts';

/** Finds the user for the tools of a worker that is root; no findings where this process is not root. */
export async function lookAtToolUser({ unprivilegedIds }: ToolSettings, workDirectory: string): Promise<Finding[]> {
  if (process.geteuid?.() !== 0) return [];
  const { first, last } = unprivilegedIds;
  const reason = await whyToolsStayRoot(unprivilegedIds, workDirectory);
  const what = 'user of tools';
  if (reason === null) {
    return [
      {
        what,
        ok: true,
        detail: `QEMU and its tools, apt and gpg run as users without rights, with ids from ${first} to ${last}`,
      },
    ];
  }
  return [
    {
      what,
      ok: true,
      detail: `root, without capabilities: ${reason}`,
      todo: `let tools run as users without rights: ${reason}`,
    },
  ];
}
