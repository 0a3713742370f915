import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import type { Findings } from './egress-own-addresses.ts';

/**
 * A machine with an address on an interface without a carrier, as Docker's bridge is while no container runs, and with
 * ranges that are routed to it. Of these, Node's own list of interfaces has none.
 */
const network = [
  'ip link set lo up',
  'ip link add left type veth peer name right',
  'ip addr add 10.77.0.1/24 dev left',
  'ip addr add fd77::1/64 dev left nodad',
  'ip link set left up',
  'ip route add local 10.78.0.0/16 dev lo',
  'ip -6 route add local fd78::/64 dev lo',
].join(' && ');
const ownHosts = ['10.77.0.1', '10.78.3.4', '[fd77::1]', '[fd78::9]', '[::ffff:10.77.0.1]'];

async function tryAll(allow: 'allow' | 'refuse'): Promise<Findings> {
  const script = join(import.meta.dirname, 'egress-own-addresses.ts');
  const command = `${network} && exec "$@"`;
  const args = ['--net', 'sh', '-c', command, 'sh', process.execPath, script, allow, ...ownHosts];
  return JSON.parse((await exec('unshare', args, { timeoutMs: 60_000 })).stdout) as Findings;
}

test('a machine’s own addresses are refused as loopback is, on whatever interface, by name, through apt’s proxy', async () => {
  const { outcomes, connections } = await tryAll('refuse');
  const refused = ['egress.refused', 'egress.refused', '403', '403'];
  assert.equal(outcomes, Object.fromEntries(ownHosts.map((host) => [host, refused])));
  assert.is(connections, 0);
});

test('they are all reached where the operator allows loopback', async () => {
  const { outcomes, connections } = await tryAll('allow');
  assert.equal(outcomes, Object.fromEntries(ownHosts.map((host) => [host, ['reached', 'reached', '200', '200']])));
  assert.ok(connections > 0);
});

test.run();
