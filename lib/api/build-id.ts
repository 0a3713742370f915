import { z } from 'zod';

/** True for text that may be the id of a build, in any spelling. Functions refuse other text without asking a server. */
export function isBuildId(text: string): boolean {
  return z.uuid().safeParse(text).success;
}
