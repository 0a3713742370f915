import { BlockList, isIP, isIPv4 } from 'node:net';
import { upTo } from '../text.ts';

/**
 * The kind of place that an IP address leads to. Ranges: IANA's special-purpose address registries (RFC 6890), and the
 * metadata services of the clouds, each at the address its documentation gives.
 */
export type AddressKind =
  | 'public'
  | 'private'
  | 'loopback'
  | 'link-local'
  | 'cloud metadata'
  | 'unspecified'
  | 'multicast'
  | 'broadcast'
  | 'reserved';

type Range = readonly [network: string, prefix: number];

/** The first kind that matches wins, so single metadata addresses stand before the ranges that hold them. */
const ranges: readonly (readonly [AddressKind, readonly Range[]])[] = [
  [
    'cloud metadata',
    [
      ['169.254.169.254', 32], // AWS, Azure, Google, OpenStack, DigitalOcean, Oracle
      ['169.254.170.2', 32], // AWS ECS task credentials
      ['100.100.100.200', 32], // Alibaba
      ['168.63.129.16', 32], // Azure wire server
      ['192.0.0.192', 32], // Oracle, classic
      ['fd00:ec2::', 32], // AWS: metadata ::254, EKS pod identity ::23
      ['fd20:ce::254', 128], // Google
    ],
  ],
  [
    'link-local',
    [
      ['169.254.0.0', 16],
      ['fe80::', 10],
    ],
  ],
  [
    'loopback',
    [
      ['127.0.0.0', 8],
      ['::1', 128],
    ],
  ],
  [
    'unspecified',
    [
      ['0.0.0.0', 8],
      ['::', 128],
    ],
  ],
  [
    'multicast',
    [
      ['224.0.0.0', 4],
      ['ff00::', 8],
    ],
  ],
  ['broadcast', [['255.255.255.255', 32]]],
  ['reserved', [['240.0.0.0', 4]]],
  [
    'private',
    [
      ['10.0.0.0', 8],
      ['172.16.0.0', 12],
      ['192.168.0.0', 16],
      ['100.64.0.0', 10], // shared by carriers (RFC 6598)
      ['192.0.0.0', 24], // protocol assignments (RFC 6890)
      ['198.18.0.0', 15], // benchmarks (RFC 2544)
      ['fc00::', 7],
      ['fec0::', 10], // site-local, deprecated (RFC 3879)
    ],
  ],
];

const lists = ranges.map(([kind, networks]) => {
  const list = new BlockList();
  for (const [network, prefix] of networks) list.addSubnet(network, prefix, addressFamily(network));
  return { kind, list };
});

/** The kind of place that an address is; not those that it carries inside (see `allAddresses`). */
export function addressKind(address: string): AddressKind {
  return lists.find(({ list }) => list.check(address, addressFamily(address)))?.kind ?? 'public';
}

/**
 * The address without its zone, and every IPv4 address that an IPv6 address carries inside. Empty for text that is no
 * address.
 */
export function allAddresses(address: string): string[] {
  const plain = upTo(address, '%');
  return isIP(plain) === 0 ? [] : [plain, ...embeddedIpv4(plain)];
}

/** The family as `BlockList` names it. */
export function addressFamily(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}

/** Makes a list for look-ups from addresses and ranges, such as `10.1.2.3` and `fd12::/64`. */
export function rangeList(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/');
    if (prefix === undefined) list.addAddress(address, addressFamily(address));
    else list.addSubnet(address, Number(prefix), addressFamily(address));
  }
  return list;
}

/**
 * IPv4 addresses that a packet to this IPv6 address may end at: mapped (RFC 4291), IPv4-compatible, NAT64 (RFC 6052,
 * RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380: server, and client with its bits flipped), ISATAP (RFC 5214).
 */
function embeddedIpv4(address: string): string[] {
  if (isIPv4(address)) return [];
  const group = ipv6Groups(address);
  const at = (index: number) => dotted(group[index] ?? 0, group[index + 1] ?? 0);
  const startsWith = (...prefix: number[]) => prefix.every((value, index) => group[index] === value);
  if (startsWith(0, 0, 0, 0, 0, 0xffff) || startsWith(0, 0, 0, 0, 0xffff, 0)) return [at(6)];
  if (startsWith(0, 0, 0, 0, 0, 0) && (group[6] ?? 0) > 0) return [at(6)];
  // The prefix for local use may be cut at 96 bits, or at 48, where a byte that is always zero splits the address.
  if (startsWith(0x64, 0xff9b, 1))
    return [at(6), dotted(group[3] ?? 0, (((group[4] ?? 0) << 8) | ((group[5] ?? 0) >> 8)) & 0xffff)];
  if (startsWith(0x64, 0xff9b)) return [at(6)];
  if (startsWith(0x2002)) return [at(1)];
  if (startsWith(0x2001, 0)) return [at(2), dotted((group[6] ?? 0) ^ 0xffff, (group[7] ?? 0) ^ 0xffff)];
  if (group[5] === 0x5efe && ((group[4] ?? 0) & 0xfdff) === 0) return [at(6)];
  return [];
}

const dotted = (high: number, low: number) => `${high >> 8}.${high & 0xff}.${low >> 8}.${low & 0xff}`;

/** The eight 16-bit groups; the URL parser normalises the spellings (`::`, dotted tails, leading zeros). */
function ipv6Groups(address: string): number[] {
  const [head = '', tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split('::');
  const parse = (text: string) => (text === '' ? [] : text.split(':').map((part) => Number.parseInt(part, 16)));
  const left = parse(head);
  if (tail === undefined) return left;
  const right = parse(tail);
  return [...left, ...new Array<number>(8 - left.length - right.length).fill(0), ...right];
}
