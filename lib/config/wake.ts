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
} as const satisfies Declarations;

export type WakeSettings = SettingsOf<typeof wakeSettings>;
