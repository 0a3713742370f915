import { readFileSync } from 'node:fs';
import { BlockList } from 'node:net';
import { networkInterfaces } from 'node:os';
import { isNodeError } from '../errors.ts';

/** Flag of a route whose addresses the kernel delivers to this machine itself (RTF_LOCAL in linux/ipv6_route.h). */
const localRoute = 0x8000_0000;

/**
 * The addresses of this machine, as its network namespace has them. Beside those of its interfaces, the kernel delivers
 * further addresses here: of an interface without a carrier, such as Docker's bridge while no container runs, which
 * `networkInterfaces` leaves out, and ranges routed here (`ip route add local`). The kernel's routing tables, in
 * /proc/net, have all of them. Read anew at each call, for addresses come and go.
 */
export function ownAddresses(): BlockList {
  const own = new BlockList();
  for (const { address, family } of Object.values(networkInterfaces()).flatMap((found) => found ?? [])) {
    own.addAddress(address, family === 'IPv4' ? 'ipv4' : 'ipv6');
  }
  addIpv4Routes(own, readIfThere('/proc/net/fib_trie'));
  addIpv6Routes(own, readIfThere('/proc/net/ipv6_route'));
  return own;
}

/** A tree: `|-- 10.1.2.3`, and below it a line such as `/32 host LOCAL` for each route to there. */
function addIpv4Routes(own: BlockList, tree: string): void {
  let address = '';
  for (const line of tree.split('\n')) {
    const [mark = '', second = '', type] = line.trim().split(' ');
    if (mark === '|--') address = second;
    else if (mark.startsWith('/') && type === 'LOCAL') own.addSubnet(address, Number(mark.slice(1)), 'ipv4');
  }
}

/** A line for each route: address and prefix in hexadecimal come first, the flags ninth. */
function addIpv6Routes(own: BlockList, table: string): void {
  for (const line of table.split('\n')) {
    const [address = '', prefix = '', , , , , , , flags = '0'] = line.split(' ').filter((field) => field !== '');
    if ((Number.parseInt(flags, 16) & localRoute) === 0) continue;
    const groups = Array.from({ length: 8 }, (_, index) => address.slice(index * 4, index * 4 + 4));
    own.addSubnet(groups.join(':'), Number.parseInt(prefix, 16), 'ipv6');
  }
}

/** Empty where there is no such file: on another system, or without IPv6. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return '';
    throw error;
  }
}
