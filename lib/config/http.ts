import type { Proxies } from '../proxies.ts';
import type { Trust } from '../trust.ts';
import { seconds } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** Connections to servers. */
export const httpSettings = {
  connectTimeoutMs: setting(
    'IMAGEBUILDER_CONNECT_TIMEOUT',
    seconds,
    '10',
    'Seconds to wait for a connection to a server.',
  ),
  stallTimeoutMs: setting(
    'IMAGEBUILDER_STALL_TIMEOUT',
    seconds,
    '60',
    'Seconds without a byte after which a download is cut and resumed. A download of less than 1 KiB a second is cut after four times as long.',
  ),
} as const satisfies Declarations;

export type HttpSettings = SettingsOf<typeof httpSettings> & {
  readonly proxies: Proxies;
  readonly trust: Trust;
};
