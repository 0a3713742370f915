/**
 * Run in a network namespace of its own: serves on all of its addresses and tries to reach each of argv's hosts in
 * every way that the egress rules guard. Prints the outcomes, by host, and how many connections reached the server.
 */

import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import { listen } from '../../lab/servers/listen.ts';
import { temporaryFolder, testClient } from '../unit/fetch/with-server.ts';

export interface Findings {
  /** By host: the code of the error, or `reached`; by a URL, a name, apt's proxy and a tunnel through it. */
  readonly outcomes: Readonly<Record<string, readonly string[]>>;
  readonly connections: number;
}

const [, , allow, ...hosts] = process.argv;
const allowLoopback = allow === 'allow';
let connections = 0;
const server = http.createServer((_request, response) => response.end('reached'));
server.on('connection', () => {
  connections += 1;
});
await using listening = await listen(server, { host: '::' });
const { port } = listening;
await using folder = await temporaryFolder();
const outcomes: Record<string, string[]> = {};
for (const host of hosts) {
  const address = host.replace('[', '').replace(']', '');
  using client = testClient({
    retry: { attempts: 1 },
    egressOptions: {
      allowLoopback,
      tunnelPorts: [port],
      resolve: async () => [{ address, family: host.startsWith('[') ? 6 : 4 }],
    },
  });
  const cache = await createAptCache({ client, cacheDirectory: folder.path, cacheBytes: 1_000_000 });
  await using proxy = await startAptProxy({ client, cache, signal: new AbortController().signal });
  const viaClient = (name: string) =>
    client.getText(`http://${name}:${port}/`, { maximumBytes: 100 }).then(
      ({ text }) => text,
      ({ code }: { code: string }) => code,
    );
  const viaProxy = async (method: string, path: string) => {
    const { username, password, port: proxyPort } = new URL(proxy.url);
    const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
    const headers = { host: 'x', 'proxy-authorization': authorization };
    const request = http.request({ port: proxyPort, host: '127.0.0.1', method, path, headers, agent: false }).end();
    const [response] = (await once(request, method === 'CONNECT' ? 'connect' : 'response')) as [IncomingMessage];
    request.destroy();
    return String(response.statusCode);
  };
  outcomes[host] = [
    await viaClient(host),
    await viaClient('a-name.example'),
    await viaProxy('GET', `http://${host}:${port}/InRelease`),
    await viaProxy('CONNECT', `${host}:${port}`),
  ];
}
process.stdout.write(JSON.stringify({ outcomes, connections } satisfies Findings));
