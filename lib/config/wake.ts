import { z } from 'zod';
import { folder, url } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** The way by which a worker is woken. */
export const wakeSettings = {
  gatewayUrl: setting(
    'IMAGEBUILDER_GATEWAY_URL',
    url,
    'http://gateway.openfaas:8080',
    'The OpenFaaS gateway (or `imagebuilder serve`) through which `build-image` wakes a worker.',
  ),
  wakeSocket: setting(
    'IMAGEBUILDER_WAKE_SOCKET',
    z.union([z.literal(''), folder]),
    '',
    'Path of a Unix socket through which `build-image` wakes a worker, instead of through the network. `imagebuilder serve` sets it.',
  ),
  wakeAnswer: setting(
    'IMAGEBUILDER_WAKE_ANSWER',
    z.enum(['early', 'late']),
    'early',
    'When a worker answers a wake that came through the OpenFaaS gateway: `early`, before it builds, so that the call holds up no other asynchronous call; or `late`, when its builds have ended, so that OpenFaaS Pro can scale by the calls that are on.',
  ),
} as const satisfies Declarations;

export type WakeSettings = SettingsOf<typeof wakeSettings>;
