import { z } from 'zod';
import { url } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** The HTTP API. */
export const apiSettings = {
  publicUrl: setting(
    'IMAGEBUILDER_PUBLIC_URL',
    z.union([z.literal(''), url]),
    '',
    'URL by which callers reach the API from outside; the `status_url` of an answer begins with it. Empty: `status_url` is a path only.',
  ),
} as const satisfies Declarations;

export type ApiSettings = SettingsOf<typeof apiSettings>;
