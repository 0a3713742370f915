import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { createEgress } from '#lib/fetch/egress.ts';
import { rejection, startServer, testClient } from './with-server.ts';

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
  'http://0.0.0.0/',
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

test.run();
