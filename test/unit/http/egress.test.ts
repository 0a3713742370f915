import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import http from 'node:http';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createAptCache } from '#lib/fetch/apt-cache.ts';
import { startAptProxy } from '#lib/fetch/apt-proxy.ts';
import { createEgress } from '#lib/http/egress.ts';
import { rejection, startServer, temporaryFolder, testClient } from '../fetch/with-server.ts';

const strict = createEgress({ allowLoopback: false, allowedHosts: [] });
const lenient = createEgress({ allowLoopback: true, allowedHosts: [] });

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.is((error as { code?: string }).code, 'egress.refused');
    return (error as Error).message;
  }
  throw new Error('was not refused');
}

for (const url of [
  'http://169.254.169.254/latest/meta-data/',
  'http://[fd00:ec2::254]/',
  'http://100.100.100.200/',
  'http://metadata.google.internal/',
  'http://METADATA.google.internal./',
  'http://169.254.1.1/',
  'http://[fe80::1]/',
  'http://2852039166/',
  'http://0xA9FEA9FE/',
  'http://0251.0376.0251.0376/',
  'http://169.254.43518/',
  'http://[::ffff:169.254.169.254]/',
  'http://[::ffff:a9fe:a9fe]/',
  'http://[::169.254.169.254]/',
  'http://[64:ff9b::169.254.169.254]/',
  'http://[2002:a9fe:a9fe::1]/',
  'http://[2001:0:1:1:0:0:5601:5601]/',
  'http://[2001:db8::5efe:169.254.169.254]/',
  'http://[64:ff9b:1::a9fe:a9fe]/',
  'http://[64:ff9b:1:a9fe:a9:fe00::]/',
  'http://[0:0:0:0:0:ffff:169.254.169.254]/',
  'http://[FD00:EC2::254]/',
  'http://[fd00:0ec2:0:0:0:0:0:254]/',
  'http://169.254.169.254./',
  'http://0xa9.0xfe.0xa9.0xfe/',
  'http://169.16689662/',
  'http://①⑥⑨.254.169.254/',
  'http://%31%36%39.254.169.254/',
  'http://169。254。169。254/',
  'http://good.example@169.254.169.254/',
  'http://good.example:80@169.254.169.254:80/',
  'http://169.254.169.254\\@good.example/',
  'http:169.254.169.254/',
  'http://[::ffff:0:a9fe:a9fe]/',
  'http://metadata.google.internal../',
  'http://0.0.0.0/',
  'http://0/',
  'http://[::]/',
  'http://224.0.0.1/',
  'http://[ff02::1]/',
  'http://255.255.255.255/',
  'http://240.0.0.1/',
  'ftp://example.org/',
  'file:///etc/passwd',
]) {
  test(`${url} is refused even where loopback is allowed, and no setting is offered`, () => {
    assert.match(
      refusal(() => lenient.checkUrl(url)),
      'no setting allows that',
    );
  });
}

for (const url of [
  'http://127.0.0.1/',
  'http://127.1/',
  'http://2130706433/',
  'http://0x7f.1/',
  'http://0177.0.0.1/',
  'http://１２７.0.0.1/',
  'http://[::1]/',
  'http://[::ffff:127.0.0.1]/',
  'http://[::ffff:7f00:1]/',
  'http://127.0.0.1./',
  'http://127.255.255.254/',
  'http://0x7f000001/',
  'http://017700000001/',
  'http://[0:0:0:0:0:0:0:1]/',
  'http://[2002:7f00:1::]/',
  'http://good.example@127.0.0.1/',
  'http://[64:ff9b::7f00:1]/',
]) {
  test(`${url} is refused by default and allowed with the loopback setting`, () => {
    assert.match(
      refusal(() => strict.checkUrl(url)),
      'IMAGEBUILDER_EGRESS_ALLOW_LOOPBACK',
    );
    lenient.checkUrl(url);
  });
}

test('public and private addresses and names are allowed', () => {
  for (const host of [
    '8.8.8.8',
    '10.0.0.1',
    '192.168.1.1',
    '172.16.0.1',
    '[2001:db8::1]',
    '[fd12::1]',
    'example.org',
  ]) {
    strict.checkUrl(`https://${host}/`);
  }
});

test('private addresses may be refused, in every spelling and behind every name, with exceptions', async () => {
  const none = createEgress({ allowLoopback: false, allowedHosts: [], allowedPrivate: [] });
  const some = createEgress({ allowLoopback: false, allowedHosts: [], allowedPrivate: ['10.1.0.0/16', 'fd12::1'] });
  const hosts = [
    '10.0.0.1',
    '0x0a000001',
    '172.31.255.255',
    '192.168.1.1',
    '100.64.0.1',
    '198.18.0.1',
    '[fd12::2]',
    '[fec0::1]',
    '[::ffff:10.0.0.1]',
    '[64:ff9b::10.0.0.1]',
    '[2002:a00:1::]',
  ];
  for (const { checkUrl } of [none, some]) {
    for (const host of hosts) {
      assert.match(
        refusal(() => checkUrl(`http://${host}/`)),
        /is a private address; the operator can allow it with IMAGEBUILDER_EGRESS_ALLOW_PRIVATE$/,
        host,
      );
    }
    for (const host of ['8.8.8.8', '172.32.0.1', '100.128.0.1', '[2001:db8::1]']) checkUrl(`http://${host}/`);
  }
  for (const host of ['10.1.2.3', '[fd12::1]', '[::ffff:10.1.2.3]']) {
    some.checkUrl(`http://${host}/`);
    some.checkTunnel(`https://${host}/`);
    refusal(() => none.checkTunnel(`https://${host}/`));
  }

  await using server = await startServer((_request, response) => {
    response.writeHead(302, { location: 'http://192.168.1.1/' }).end();
  });
  using client = testClient({
    egressOptions: { allowedPrivate: [], resolve: async () => [{ address: '10.0.0.1', family: 4 }] },
  });
  for (const url of ['http://inner.example/', `${server.url}/`]) {
    assert.is((await rejection(client.open(url))).code, 'egress.refused');
  }
});

test('an allow-list holds names, subdomains and addresses, and nothing beside them', () => {
  const { checkUrl } = createEgress({
    allowLoopback: false,
    allowedHosts: ['Mirror.example.org', '*.example.net', '10.1.2.3', '[fd12::1]'],
  });
  for (const host of ['mirror.example.org', 'MIRROR.EXAMPLE.ORG.', 'a.b.example.net', '10.1.2.3', '[fd12:0::1]']) {
    checkUrl(`http://${host}/`);
  }
  for (const host of ['example.org', 'example.net', 'badexample.net', 'mirror.example.org.evil.example', '10.1.2.4']) {
    assert.match(
      refusal(() => checkUrl(`http://${host}/`)),
      'IMAGEBUILDER_EGRESS_ALLOWED_HOSTS',
    );
  }
});

test('an allow-list does not open metadata addresses', () => {
  const { checkUrl } = createEgress({ allowLoopback: true, allowedHosts: ['169.254.169.254'] });
  refusal(() => checkUrl('http://169.254.169.254/'));
});

test('a name that resolves to a refused address is refused where the connection is made', async () => {
  using client = testClient({
    egressOptions: { resolve: async () => [{ address: '169.254.169.254', family: 4 }] },
  });
  const error = await rejection(client.open('http://innocent.example/'));
  assert.is(error.code, 'egress.refused');
  assert.match(error.message, 'innocent.example');
});

test('a name with one good and one refused address is refused', async () => {
  using client = testClient({
    egressOptions: {
      resolve: async () => [
        { address: '8.8.8.8', family: 4 },
        { address: 'fe80::1%eth0', family: 6 },
      ],
    },
  });
  assert.is((await rejection(client.open('http://innocent.example/'))).code, 'egress.refused');
});

test('the connection goes to the address that was checked: DNS is asked once, so it cannot change its answer', async () => {
  await using server = await startServer((_request, response) => response.end('checked'));
  const answers = ['127.0.0.1', '169.254.169.254'];
  let asked = 0;
  using client = testClient({
    egressOptions: {
      resolve: async () => [{ address: answers[asked++] ?? '', family: 4 }],
    },
    retry: { attempts: 1 },
  });
  const url = `http://rebinding.example:${new URL(server.url).port}/`;
  assert.is((await client.getText(url, { maximumBytes: 100 })).text, 'checked');
  assert.is(asked, 1);
  client[Symbol.dispose]();
  assert.is((await rejection(client.open(url))).code, 'egress.refused');
});

test('a zone id in a URL is no URL, and in an answer of DNS it hides nothing', async () => {
  for (const url of ['http://[fe80::1%25eth0]/', 'http://[fe80::1%eth0]/', 'http://[::1%25lo]/']) {
    assert.throws(() => lenient.checkUrl(url), /malformed/);
  }
  using client = testClient({ egressOptions: { resolve: async () => [{ address: 'fe80::1%lo', family: 6 }] } });
  assert.is((await rejection(client.open('http://innocent.example/'))).code, 'egress.refused');
});

test('names of this machine are refused where they lead to it, with and without the root’s dot', async () => {
  await using server = await startServer((_request, response) => response.end());
  using client = testClient({ egressOptions: { allowLoopback: false } });
  const { port } = new URL(server.url);
  for (const host of ['localhost', 'localhost.', 'LOCALHOST']) {
    const error = await rejection(client.open(`http://${host}:${port}/`));
    // A system may not know the name with a dot.
    const expected = host.endsWith('.') ? ['egress.refused', 'upstream.unusable'] : ['egress.refused'];
    assert.ok(expected.includes(error.code ?? ''), `${host}: ${error.message}`);
  }
  assert.is(server.connections, 0);
});

test('a real DNS server that changes its answer between two questions opens no way to what is refused', async () => {
  await using server = await startServer((_request, response) => response.end('checked'));
  await using names = await startDns(['127.0.0.1', '169.254.169.254']);
  const resolver = new Resolver();
  resolver.setServers([names.address]);
  using client = testClient({
    egressOptions: {
      resolve: async (hostname) => (await resolver.resolve4(hostname)).map((address) => ({ address, family: 4 })),
    },
    retry: { attempts: 1 },
  });
  const url = `http://rebinding.example:${new URL(server.url).port}/`;
  // The check that has seen the good answer is the connection's own; the bad one comes to the next and is refused there.
  assert.is((await client.getText(url, { maximumBytes: 100 })).text, 'checked');
  assert.is(names.questions(), 1);
  client[Symbol.dispose]();
  assert.is((await rejection(client.open(url))).code, 'egress.refused');
  assert.is(names.questions(), 2);
});

/** A DNS server (RFC 1035) that gives its answers one after the other, with a time to live of zero. */
async function startDns(answers: readonly string[]) {
  const socket = createSocket('udp4');
  let asked = 0;
  socket.on('message', (query, { port, address }) => {
    const answer = answers[asked++] ?? '';
    // The question's name begins at 12 and ends with a zero byte; type and class follow.
    const question = query.subarray(12, query.indexOf(0, 12) + 5);
    const header = Buffer.from([query[0] ?? 0, query[1] ?? 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, ...answer.split('.').map(Number)]);
    socket.send(Buffer.concat([header, question, record]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return {
    address: `127.0.0.1:${socket.address().port}`,
    questions: () => asked,
    async [Symbol.asyncDispose]() {
      socket.close();
      await once(socket, 'close');
    },
  };
}

const detours = [
  'http://169.254.169.254/',
  'http://2852039166/',
  'http://0251.0376.0251.0376/',
  'http://[::ffff:a9fe:a9fe]/',
  'http://[fd00:ec2::254]/',
  'http://[64:ff9b::a9fe:a9fe]/',
  'http://good@169.254.169.254/',
  '//169.254.169.254/',
  'file:///etc/passwd',
];

test('no way through the client follows a redirect to a refused address: downloads, cancel URLs, callbacks', async () => {
  for (const location of detours) {
    await using server = await startServer((_request, response) => response.writeHead(307, { location }).end());
    using client = testClient();
    const limit = { maximumBytes: 1000 };
    for (const attempt of [
      client.open(server.url),
      client.head(server.url),
      client.getText(server.url, limit),
      client.getJson(server.url, limit),
      client.postJson(server.url, '{}', {}),
    ]) {
      const error = await rejection(attempt);
      assert.is(error.code, 'egress.refused', `${location}: ${error.message}`);
      assert.match(error.message, `${server.url}/ redirects elsewhere, and `);
    }
  }
});

test('apt’s proxy holds requests and tunnels to the same rules, names and redirects included', async () => {
  await using server = await startServer((request, response) => {
    response.writeHead(302, { location: detours[Number(request.url?.slice(1))] }).end();
  });
  await using folder = await temporaryFolder();
  using client = testClient({
    egressOptions: { resolve: async () => [{ address: '100.100.100.200', family: 4 }] },
    retry: { attempts: 1 },
  });
  const cache = await createAptCache({ client, cacheDirectory: folder.path, cacheBytes: 1_000_000 });
  await using proxy = await startAptProxy({ client, cache, signal: new AbortController().signal });
  const { port, username, password } = new URL(proxy.url);
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  const ask = async (method: string, path: string) => {
    const headers = { host: 'x', 'proxy-authorization': authorization };
    const request = http.request({ port, method, path, headers, agent: false });
    request.end();
    const [response] = (await once(request, method === 'CONNECT' ? 'connect' : 'response')) as [http.IncomingMessage];
    request.destroy();
    return `${response.statusCode} ${response.statusMessage}`;
  };
  const gets = ['http://169.254.169.254/', 'http://0xa9fea9fe/x.deb', 'http://inner.example/dists/x/InRelease'];
  for (const path of [...gets, ...detours.map((_, index) => `${server.url}/${index}`)]) {
    assert.match(await ask('GET', path), /^403 .*refused by the egress rules/, path);
  }
  for (const path of ['169.254.169.254:443', '[::ffff:a9fe:a9fe]:443', 'a@169.254.169.254:80', 'inner.example:443']) {
    assert.match(await ask('CONNECT', path), /^403 .*refused by the egress rules/, path);
  }
});

test('tunnels lead to the port of https, and to others where the operator says so', () => {
  assert.is(strict.checkTunnel('https://mirror.example/').hostname, 'mirror.example');
  for (const port of [22, 25, 80, 5672, 8443]) {
    assert.is(strict.checkUrl(`https://mirror.example:${port}/`).port, String(port));
    assert.match(
      refusal(() => strict.checkTunnel(`https://mirror.example:${port}/`)),
      /^mirror\.example:\d+ is refused .* IMAGEBUILDER_EGRESS_TUNNEL_PORTS$/,
    );
  }
  const more = createEgress({ allowLoopback: false, allowedHosts: [], tunnelPorts: [443, 8443] });
  assert.is(more.checkTunnel('https://mirror.example:8443/').port, '8443');
  assert.match(
    refusal(() => more.checkTunnel('https://127.0.0.1:8443/')),
    /loopback/,
  );
});

test('every hop of a redirect is checked, the name and what it resolves to', async () => {
  await using server = await startServer((request, response) => {
    const location = request.url === '/literal' ? 'http://169.254.169.254/' : 'http://inner.example/';
    response.writeHead(302, { location }).end();
  });
  using client = testClient({ egressOptions: { resolve: async () => [{ address: '100.100.100.200', family: 4 }] } });
  for (const path of ['/literal', '/name']) {
    assert.is((await rejection(client.open(server.url + path))).code, 'egress.refused');
  }
});

test('a redirect from https to http is refused by every way through the client, unless the operator allows it', async () => {
  await using plain = await startServer((_request, response) => response.end('{}'));
  await using secure = await startServer(
    (request, response) => {
      const location = request.url === '/within' ? '/' : plain.url;
      if (request.url === '/') response.end('{}');
      else response.writeHead(307, { location }).end();
    },
    { tls: true },
  );
  await using upgrading = await startServer((request, response) => {
    response.writeHead(307, { location: `${secure.url}${request.url}` }).end();
  });
  using client = testClient();
  const limit = { maximumBytes: 1000 };
  for (const url of [`${secure.url}/down`, `${upgrading.url}/down`]) {
    for (const attempt of [
      client.open(url),
      client.head(url),
      client.getText(url, limit),
      client.getJson(url, limit),
      client.postJson(url, '{}', {}),
    ]) {
      const error = await rejection(attempt);
      assert.is(error.code, 'egress.refused');
      assert.match(error.message, /redirects from https to http:.* IMAGEBUILDER_EGRESS_ALLOW_DOWNGRADE$/);
    }
  }
  assert.is(plain.connections, 0);
  const security = async (url: string) => (await client.getText(url, limit)).secure;
  assert.equal([await security(`${secure.url}/within`), await security(`${upgrading.url}/within`)], [true, false]);

  using lax = testClient({ egressOptions: { allowDowngrade: true } });
  const { text, secure: wasSecure } = await lax.getText(`${secure.url}/down`, limit);
  assert.equal([text, wasSecure], ['{}', false]);
});

test.run();
