import { z } from 'zod';
import { trimEndOf } from '../text.ts';

/** The forms of text that several settings have. */

const KiB = 1024;
export const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** Timers of Node end at once when they are set to more than 2^31 - 1 milliseconds. */
const longestSeconds = 2_000_000;

/** Seconds, as milliseconds. */
export const seconds = z
  .string()
  .regex(/^[0-9]+(\.[0-9]+)?$/, { error: 'must be a number of seconds' })
  .refine((text) => Number(text) > 0 && Number(text) <= longestSeconds, {
    error: `must be more than 0 and at most ${longestSeconds} seconds`,
  })
  .transform((text) => Math.max(1, Math.round(Number(text) * 1000)));

export const wholeNumber = z
  .string()
  .regex(/^[0-9]+$/, { error: 'must be a whole number' })
  .transform(Number);

/** Bytes, with a unit such as `M`. */
export const bytes = z
  .string()
  .regex(/^[0-9]+(\.[0-9]+)?[KMGT]?$/, { error: 'must be a size such as 512M or 20G' })
  .transform((text) => {
    const units: Record<string, number> = { K: KiB, M: MiB, G: GiB, T: 1024 * GiB };
    return Math.round(Number.parseFloat(text) * (units[text.slice(-1)] ?? 1));
  });

export const yesNo = z.enum(['true', 'false'], { error: 'must be true or false' }).transform((text) => text === 'true');

export const folder = z.string().regex(/^\//, { error: 'must be an absolute path' });

/** Without a slash at its end. */
export const url = z
  .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
  .transform((text) => trimEndOf(text, '/'));

/** Words between blanks or commas. */
export const list = z.string().transform((text) => text.split(/[\s,]+/).filter((part) => part !== ''));
