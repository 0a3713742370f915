import { createHash } from 'node:crypto';
import type { Wanted } from './wanted.ts';

/** A digest of the program and of all settings that a service is started with. */
export function digestOfStart(program: string, { environment, authorities, secrets, hostGuest }: Wanted): string {
  const parts = [program, environment, authorities, [...secrets].toSorted(), hostGuest];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}
