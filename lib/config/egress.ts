import { isIP } from 'node:net';
import { z } from 'zod';
import { list, wholeNumber, yesNo } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

const range = z.string().refine(
  (text) => {
    const [address = '', prefix = '0', ...rest] = text.split('/');
    return (
      isIP(address) !== 0 &&
      !address.includes('%') &&
      rest.length === 0 &&
      /^[0-9]{1,3}$/.test(prefix) &&
      Number(prefix) <= (isIP(address) === 4 ? 32 : 128)
    );
  },
  { error: 'must be true, false, or addresses and ranges such as 10.1.2.0/24' },
);

/** Servers that URLs of a request may lead to. */
export const egressSettings = {
  allowLoopback: setting(
    'IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK',
    yesNo,
    'false',
    'Whether URLs of a request may lead to the worker’s own machine: to loopback addresses, and to its addresses on any interface.',
  ),
  /** Undefined: all. */
  allowedPrivate: setting(
    'IMAGEBUILDER_EGRESS_ALLOW_PRIVATE',
    list
      .transform((parts) => (parts.join() === 'true' ? undefined : parts.join() === 'false' ? [] : parts))
      .pipe(z.array(range).optional()),
    'true',
    'Private addresses (RFC 1918, 100.64.0.0/10, fc00::/7 and the like) that URLs of a request may lead to: `true` for all, `false` for none, or only these, such as `10.1.2.0/24,fd12::/64`. Checked after DNS and at each redirect, for apt too.',
  ),
  allowedHosts: setting(
    'IMAGEBUILDER_EGRESS_ALLOWED_HOSTS',
    list,
    '',
    'When set, only these hosts may be reached (names, `*.example.org`, or addresses; separated by commas). Link-local and cloud-metadata addresses are refused always.',
  ),
  tunnelPorts: setting(
    'IMAGEBUILDER_EGRESS_TUNNEL_PORTS',
    list.pipe(z.array(wholeNumber.refine((port) => port >= 1 && port <= 65535, { error: 'must be from 1 to 65535' }))),
    '443',
    'Ports at which https repositories may be reached, separated by commas. Package scripts can send anything to these ports.',
  ),
  allowDowngrade: setting(
    'IMAGEBUILDER_EGRESS_ALLOW_DOWNGRADE',
    yesNo,
    'false',
    'Whether redirects from https to http are followed. Anybody on the way can change content that comes over http.',
  ),
} as const satisfies Declarations;

export type EgressSettings = SettingsOf<typeof egressSettings>;
