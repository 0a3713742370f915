import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { UpstreamError } from '#lib/http/upstream-error.ts';
import { startLabProxy } from '../../../lab/servers/http-proxy.ts';
import { listen } from '../../../lab/servers/listen.ts';
import { makeCertificate } from '../fetch/certificate.ts';
import { rejection, startServer, testClient } from '../fetch/with-server.ts';

/** A private CA, and certificates that clients show. */

let directory = '';
const at = (name: string) => join(directory, name);
const server = makeCertificate();
const client = makeCertificate();

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'certificates-'));
  await writeFile(at('ca.pem'), `# our CA\n${server.cert}`);
  await writeFile(at('client.pem'), `${client.key}${client.cert}`);
  await writeFile(at('other.pem'), `${server.key}${client.cert}`);
  await writeFile(at('broken.pem'), server.cert.replace(/\n.{20}/, '\nhidden'));
  await writeFile(at('empty.pem'), 'hidden');
});
test.after(() => rm(directory, { recursive: true, force: true }));

function clientOf(environment: Record<string, string>) {
  return testClient({ ...loadConfig(environment).http, connectTimeoutMs: 2000, retry: { attempts: 1 } });
}

/** A server that answers with the fingerprint of its client's certificate, and demands one. */
async function startDemanding() {
  const options = { ...server, requestCert: true, rejectUnauthorized: true, ca: [client.cert] };
  const demanding = https.createServer(options, (request, response) => {
    response.end((request.socket as TLSSocket).getPeerCertificate().fingerprint256 ?? 'none');
  });
  const listening = await listen(demanding);
  return { ...listening, url: listening.url.replace('http:', 'https:') };
}

test('a server of a private CA is trusted by IMAGEBUILDER_CA_FILE, and shown the certificate that is meant for it', async () => {
  await using demanding = await startDemanding();
  const { port } = demanding;
  const ca = { IMAGEBUILDER_CA_FILE: at('ca.pem') };
  using unknown = clientOf({});
  assert.match((await rejection(unknown.getText(demanding.url, { maximumBytes: 100 }))).message, 'TLS failed');
  for (const pattern of ['127.0.0.1', `127.0.0.1:${port}`, '127.0.0.0/8']) {
    using known = clientOf({ ...ca, IMAGEBUILDER_CLIENT_CERTIFICATES: `${pattern}=${at('client.pem')}` });
    assert.match((await known.getText(demanding.url, { maximumBytes: 100 })).text, /^[0-9A-F:]{95}$/, pattern);
  }
  using elsewhere = clientOf({ ...ca, IMAGEBUILDER_CLIENT_CERTIFICATES: `127.0.0.1:1=${at('client.pem')}` });
  await rejection(elsewhere.getText(demanding.url, { maximumBytes: 100 }));
  await using proxy = await startLabProxy();
  using proxied = clientOf({
    ...{ ...ca, https_proxy: proxy.url },
    IMAGEBUILDER_CLIENT_CERTIFICATES: `127.0.0.1=${at('client.pem')}`,
  });
  assert.match((await proxied.getText(demanding.url, { maximumBytes: 100 })).text, /^[0-9A-F:]{95}$/);
  assert.is(proxy.requests.length, 1);
});

test('files that hold no certificates, or keys of others, are refused at the start, and quoted nowhere', () => {
  for (const [variable, value, message] of [
    ['IMAGEBUILDER_CA_FILE', at('missing.pem'), /missing\.pem, which cannot be read \(ENOENT\)/],
    ['IMAGEBUILDER_CA_FILE', at('empty.pem'), /holds no PEM certificate/],
    ['IMAGEBUILDER_CA_FILE', at('broken.pem'), /number 1\) that cannot be parsed/],
    ['IMAGEBUILDER_CLIENT_CERTIFICATES', `x=${at('ca.pem')}`, /holds no PEM private key/],
    ['IMAGEBUILDER_CLIENT_CERTIFICATES', `x=${at('other.pem')}`, /a key that belongs to another certificate/],
    ['IMAGEBUILDER_CLIENT_CERTIFICATES', 'x', /must be pairs/],
    ['IMAGEBUILDER_CLIENT_CERTIFICATES', `x/y=${at('client.pem')}`, /x\/y, which is no name/],
  ] as const) {
    assert.throws(
      () => loadConfig({ [variable]: value }),
      (error: Error) =>
        error.message.includes(variable) && message.test(error.message) && !error.message.includes('hidden'),
      value,
    );
  }
});

test('a proxy behind TLS is trusted by the CA of the operator, and named where it is not', async () => {
  await using plain = await startServer((_, response) => void response.end('body'));
  await using tlsProxy = await startLabProxy({ server: https.createServer(server) as never });
  const variables = { http_proxy: `https://127.0.0.1:${tlsProxy.port}` };
  using untrusting = clientOf(variables);
  const error = await rejection(untrusting.getText(plain.url, { maximumBytes: 100 }));
  assert.match(error.message, /the proxy https:\/\/127\.0\.0\.1:\d+ cannot be used: TLS failed .*IMAGEBUILDER_CA_FILE/);
  assert.ok(error instanceof UpstreamError && !error.transient);
  using trusting = clientOf({ ...variables, IMAGEBUILDER_CA_FILE: at('ca.pem') });
  assert.is((await trusting.getText(plain.url, { maximumBytes: 100 })).text, 'body');
});

test.run();
