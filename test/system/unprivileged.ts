import { readFile } from 'node:fs/promises';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';

export const { unprivilegedIds } = loadConfig({}).tools;

/** Fails unless a process is of a user of `unprivilegedIds`, without any right; resolves with the user's id. */
export async function assertUnprivileged(processId: number): Promise<number> {
  return assertUnprivilegedStatus(await readFile(`/proc/${processId}/status`, 'utf8'));
}

/** The same by the text of `/proc/PID/status`. */
export function assertUnprivilegedStatus(status: string): number {
  const field = (name: string) => new RegExp(`^${name}:[\\t ]*(.*)$`, 'm').exec(status)?.[1]?.trim() ?? '';
  const { first, last } = unprivilegedIds;
  const [userId = 0] = field('Uid').split(/\s+/).map(Number);
  assert.ok(userId >= first && userId <= last, status);
  for (const name of ['Uid', 'Gid']) assert.equal([...new Set(field(name).split(/\s+/))], [String(userId)], status);
  for (const name of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) {
    assert.is(Number(`0x${field(name)}`), 0, status);
  }
  assert.is(field('NoNewPrivs'), '1');
  return userId;
}
