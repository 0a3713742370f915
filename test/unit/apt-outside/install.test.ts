import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertInstalled } from '#lib/apt/outside/install.ts';
import { explainNetworkFailure } from '#lib/apt/outside/network-failure.ts';
import { ImageBuilderError } from '#lib/errors.ts';

const error = new ImageBuilderError('apt.install', 'the installation failed in foo: exit status 1', { logTail: ['x'] });
const log = (said: string) => [
  'Setting up other (1) ...',
  'Temporary failure in name resolution',
  'Setting up foo (1.0-1) ...',
  said,
  'dpkg: error processing package foo (--configure):',
  ' installed foo package post-installation script subprocess returned error exit status 1',
];

test('a script that failed for want of a network is distinguished from one that failed otherwise', () => {
  for (const said of [
    'curl: (6) Could not resolve host: example.com',
    'wget: unable to resolve host address ‘example.com’',
    "  Temporary failure resolving 'example.com'",
    'connect: Network is unreachable',
    'Error: getaddrinfo EAI_AGAIN example.com',
    'socket.gaierror: [Errno -3] Temporary failure in name resolution',
    'fatal: unable to access: Could not resolve host: example.com',
    'curl: (7) Failed to connect to 192.0.2.1 port 80',
  ]) {
    const explained = explainNetworkFailure(error, log(said));
    assert.match(explained.message, 'The scripts of foo want the network');
    assert.match(explained.message, 'IMAGEBUILDER_VM_NETWORK=true');
    assert.equal(explained.logTail, ['x']);
  }
  assert.is(explainNetworkFailure(error, log('the moon is in the wrong phase')), error);
  const full = new ImageBuilderError('image.full', 'x');
  assert.is(explainNetworkFailure(full, log('Network is unreachable')), full);
});

test('an image that does not have what was resolved is not taken for finished', () => {
  const archives = [
    { name: 'a', version: '1:2', architecture: 'all', file: '', stanza: '' },
    { name: 'b', version: '1', architecture: 'i386', file: '', stanza: '' },
  ];
  const installed = (name: string, architecture: string, version: string) =>
    ({ name, architecture, version, state: 'installed' }) as const;
  const planned = { archives, remove: ['c', 'd:i386'], architecture: 'amd64' };
  const good = [installed('a', 'all', '1:2'), installed('b', 'i386', '1'), installed('d', 'amd64', '1')];
  assertInstalled(planned, good);
  assertInstalled(planned, [installed('a', 'amd64', '1:2'), ...good.slice(1)]);
  for (const packages of [
    good.slice(1),
    [...good, installed('c', 'amd64', '1')],
    [...good, installed('d', 'i386', '1')],
    [installed('a', 'all', '2'), ...good.slice(1)],
  ]) {
    assert.throws(() => assertInstalled(planned, packages), 'not as it was planned');
  }
});

test.run();
