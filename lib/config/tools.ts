import { z } from 'zod';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** Ids below belong to accounts and services; the last id of 32 bits means no id. */
const ids = z
  .string()
  .regex(/^[0-9]{1,10}-[0-9]{1,10}$/, { error: 'must be a range of ids such as 1879048192-1895825407' })
  .transform((text) => text.split('-').map(Number))
  .refine(([first = 0, last = 0]) => first >= 65_536 && first <= last && last < 2 ** 32 - 1, {
    error: 'must be a range of ids from 65536 to 4294967294',
  })
  .transform(([first = 0, last = 0]) => ({ first, last }));

/** Programs that a worker starts. */
export const toolSettings = {
  unprivilegedIds: setting(
    'IMAGEBUILDER_UNPRIVILEGED_IDS',
    ids,
    '1879048192-1895825407',
    'Range of user and group ids for programs that a worker that is root starts. Each use of a tool (QEMU and its tools, apt, gpg) gets a random one, and each build’s containers in the host guest get 65,536 in a row. No account and no other program may have these ids: at the end of a use, every process with its id is killed.',
  ),
} as const satisfies Declarations;

export type ToolSettings = SettingsOf<typeof toolSettings>;
