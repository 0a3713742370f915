import { z } from 'zod';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** Lines of the log. */
export const logSettings = {
  level: setting(
    'IMAGEBUILDER_LOG_LEVEL',
    z.enum(['debug', 'info', 'warn', 'error'], { error: 'must be debug, info, warn or error' }),
    'info',
    'Least severity that is logged: `debug`, `info`, `warn` or `error`.',
  ),
} as const satisfies Declarations;

export type LogSettings = SettingsOf<typeof logSettings>;
