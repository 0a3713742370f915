import { connect } from 'node:net';
import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { PackageSpecification } from '#lib/api/package.ts';
import { formatPpa, Ppa } from '#lib/api/ppa.ts';
import { Problem } from '#lib/api/problem.ts';
import { BuildRequest, ExchangeName, parseBuildRequest } from '#lib/api/request.ts';
import { queues } from '#lib/queue/topology.ts';
import {
  type Answer,
  type CallOptions,
  call,
  type FunctionProcess,
  startFunction,
} from '../../../lab/servers/function.ts';
import { holds } from '../holds.ts';
import { fromSchema } from './from-schema.ts';

/** The functions answer every request with 2xx or 4xx and live on. No RabbitMQ is there: checks come first. */

const root = `${import.meta.dirname}/../../..`;
// Port 1 has no server: what gets as far as RabbitMQ is answered with 503, which fails these tests.
const env = { IMAGEBUILDER_AMQP_URL: 'amqp://127.0.0.1:1' };
let buildImage: FunctionProcess;
let status: FunctionProcess;

test.before(async () => {
  [buildImage, status] = (await Promise.all(
    ['build-image', 'status'].map((name) => startFunction({ handler: `${root}/functions/${name}/handler.ts`, env })),
  )) as [FunctionProcess, FunctionProcess];
});
test.after(async () => {
  await buildImage[Symbol.asyncDispose]();
  await status[Symbol.asyncDispose]();
});

/** A call that takes longer than this hangs. */
const patienceMs = 30_000;

async function send(to: FunctionProcess, path: string, options: CallOptions): Promise<Answer> {
  const answer = await call(to.address, path, { ...options, signal: AbortSignal.timeout(patienceMs) });
  assert.is(to.child.exitCode, null, 'the function has died');
  return answer;
}

/** Fails unless the answer is a refusal, and one that says what is wrong. */
function assertRefused(answer: Answer): Problem {
  const text = answer.body.toString();
  assert.ok(answer.status >= 400 && answer.status < 500, `${answer.status} ${text.slice(0, 500)}`);
  assert.is(answer.headers['content-type'], 'application/problem+json');
  const problem = Problem.parse(JSON.parse(text));
  assert.is(problem.status, answer.status);
  assert.is(problem.fault, 'request');
  return problem;
}

const json = { 'content-type': 'application/json' };
const post = (body: string | Uint8Array, headers: CallOptions['headers'] = json) =>
  send(buildImage, '/', { method: 'POST', headers, body });

const launchpadName = fc.stringMatching(/^[a-z0-9][a-z0-9+.-]{0,20}$/).filter((name) => name !== 'ubuntu');
const ppa = fc
  .tuple(fc.constantFrom('ppa:', 'PPA:', 'Ppa:'), fc.constantFrom('', '~'), launchpadName, fc.option(launchpadName))
  .chain(([prefix, tilde, owner, name]) =>
    fc
      .constantFrom(...(name === null ? [''] : [`/${name}`, `/ubuntu/${name}`]))
      .map((rest) => prefix + tilde + owner + rest),
  );
const exchange = fc.stringMatching(/^[A-Za-z0-9_.:-]{1,60}$/).filter((name) => !/^(amq|imagebuilder)\./.test(name));
const word = fc.stringMatching(/^[a-z][a-z0-9]{1,20}$/);
const answer = fc
  .tuple(word, word, fc.stringMatching(/^[ -~]{0,40}$/))
  .map(([owner, name, value]) => `${owner} ${owner}/${name} string ${value}`);
const request = fromSchema(BuildRequest, {
  ...{ '.ppa_list[]': ppa, '.progress_trigger': exchange },
  ...{ '.debconf_selections[]': answer, '.hold_packages[]': word },
});

test('requests made from the schema are valid, and stay what they are when they are written and read again', () => {
  holds(
    fc.property(request, (input) => {
      const parsed = parseBuildRequest(JSON.parse(JSON.stringify(input)));
      const again = { ...parsed, ppa_list: parsed.ppa_list.map(formatPpa) };
      assert.equal(parseBuildRequest(JSON.parse(JSON.stringify(again))), parsed);
    }),
    { numRuns: 300 },
  );
});

test('every spelling of a PPA has one canonical form, which is its own', () => {
  holds(
    fc.property(ppa, (text) => {
      const canonical = formatPpa(Ppa.parse(text));
      assert.match(canonical, /^ppa:[^~/]+\/[^/]+$/);
      assert.is(formatPpa(Ppa.parse(canonical)), canonical);
    }),
  );
});

test('a package is asked for by its name alone: nothing reads as an option, a removal, a path or a pattern', () => {
  const sign = fc.constantFrom(
    '-',
    '+',
    '_',
    '*',
    '?',
    '[',
    '^',
    '$',
    '/',
    '..',
    '\n',
    ' ',
    '\0',
    ';',
    '=',
    ':',
    '~',
    'é',
  );
  const word = fc.array(fc.oneof(fc.stringMatching(/^[a-z0-9.+-]{1,4}$/), sign), { minLength: 1, maxLength: 6 });
  holds(
    fc.property(word, (parts) => {
      const text = parts.join('');
      if (!PackageSpecification.safeParse(text).success) return;
      const [name = ''] = text.split(/[:=/]/);
      assert.match(name, /^[a-z0-9]/);
      assert.not.match(name, /-$/);
      assert.not.match(text, /[^a-zA-Z0-9+.:=~/-]/);
    }),
    { numRuns: 2_000 },
  );
  for (const text of ['systemd-', 'systemd-=1', 'systemd-:amd64', 'systemd:amd64-', 'a/', '--yes', 'a^']) {
    assert.is(PackageSpecification.safeParse(text).success, false, text);
  }
});

test('no exchange name reaches what is the broker’s or our own, nor what AMQP cannot name', () => {
  for (const name of Object.values(queues)) assert.is(ExchangeName.safeParse(name).success, false, name);
  const part = fc.constantFrom(
    '',
    'amq.',
    'imagebuilder.',
    'amq',
    'imagebuilder',
    'builds',
    '.',
    '\n',
    '\0',
    ' ',
    '/',
    '#',
    '*',
    'é',
    'direct',
  );
  holds(
    fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
      const name = parts.join('');
      const safe = /^[A-Za-z0-9_.:-]+$/.test(name) && !/^(amq|imagebuilder)\./.test(name);
      assert.is(ExchangeName.safeParse(name).success, safe, JSON.stringify(name));
    }),
    { numRuns: 1_000 },
  );
});

/** Text as it should not be: endless, unpaired, invisible, turned around, or something's syntax. */
const oddText = fc.oneof(
  fc.constantFrom(
    '',
    '\0',
    '\ud800',
    'a\udfffb',
    '\u202egnp.exe',
    '\ufeff',
    '%00',
    '../../etc/passwd',
    '$(reboot)',
    "';--",
  ),
  fc.constantFrom(
    '__proto__',
    'constructor',
    'amq.topic',
    'imagebuilder.builds',
    'http://169.254.169.254/',
    'file:///etc/passwd',
  ),
  fc.constantFrom('a'.repeat(70_000), '\u0301'.repeat(5_000), 'http://u:p@h/', 'http://[::1', 'http://h:99999/'),
  fc.string({ unit: 'binary' }),
);
const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  oddText,
  fc.constantFrom(null, true, 0, -0, -1, 0.5, 1e308, 2 ** 53, [], {}, [[]], [null]),
  fc.jsonValue(),
  fc.nat({ max: 3_000 }).map((count) => Array(count).fill('x')),
  fc.integer({ min: 1, max: 2_000 }).map(nested),
);

function nested(depth: number): unknown {
  let value: unknown = 0;
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

/** Every place of a request, as the keys that lead there. */
function places(value: unknown, path: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return [path];
  return [path, ...Object.entries(value).flatMap(([key, each]) => places(each, [...path, key]))];
}

function replace(value: unknown, [key, ...rest]: readonly string[], by: unknown): unknown {
  if (key === undefined) return by;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<string, unknown>;
  copy[key] = replace(copy[key], rest, by);
  return copy;
}

/** A request with one place changed, or with a member that is too many. */
const mutated = fc.tuple(request, fc.nat(), oddValue, oddText, fc.boolean()).map(([valid, seed, value, name, adds]) => {
  const all = places(valid);
  const place = all[seed % all.length] ?? [];
  return adds ? { ...valid, [name]: value } : replace(valid, place, value);
});

const bodies = fc.oneof(
  { weight: 4, arbitrary: mutated.map((value) => JSON.stringify(value) ?? '') },
  // The same member twice: the last one counts, for the check as for the build.
  {
    weight: 1,
    arbitrary: request
      .map((valid) => JSON.stringify(valid).replace(/^\{/, '{"progress_trigger":"ok",'))
      .map((text) => text.replace(/\}$/, ',"progress_trigger":"amq.direct"}')),
  },
  // Cut off, or with bytes in it that are no UTF-8 and no JSON.
  {
    weight: 2,
    arbitrary: fc.tuple(request, fc.nat(), fc.uint8Array({ maxLength: 8 })).map(([valid, place, bytes]) => {
      const text = Buffer.from(JSON.stringify(valid));
      const at = place % text.length;
      return Buffer.concat([text.subarray(0, at), bytes, Buffer.from([0xff]), text.subarray(at + 1)]);
    }),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
);

const mediaTypes = fc.constantFrom(
  ...['application/json', 'application/json; charset=utf-16', 'application/ld+json', 'text/plain', 'text/html'],
  ...['application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'application/octet-stream', 'x', ''],
);

/** True where the functions may take it, which without RabbitMQ would be 503. */
function isValid(body: string | Uint8Array): boolean {
  try {
    return BuildRequest.safeParse(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(body))))
      .success;
  } catch {
    return false;
  }
}

test('every wrong body is refused with its faults', async () => {
  await fc.assert(
    fc.asyncProperty(bodies, mediaTypes, async (body, type) => {
      fc.pre(!isValid(body));
      assertRefused(await post(body, type === '' ? {} : { 'content-type': type }));
    }),
    { numRuns: 250 },
  );
});

const form = 'application/x-www-form-urlencoded';
const valid = JSON.stringify(exampleRequest);
const multipart = '--x\r\ncontent-disposition: form-data; name="request"\r\n\r\n{}\r\n--x--\r\n';

/** Bodies as clients send them when nobody has told them that they are JSON; each is one fault. */
const clients: readonly (readonly [client: string, body: string | Uint8Array, headers: CallOptions['headers']])[] = [
  ['curl --data', valid, { 'content-type': form }],
  ['curl --data with a form', 'ticket_id=1&base_image=x', { 'content-type': form }],
  ['curl --form', multipart, { 'content-type': 'multipart/form-data; boundary=x' }],
  ['wget --post-file', valid, { 'content-type': form, 'user-agent': 'Wget/1.21' }],
  ['requests.post(data=text), http.client', valid, {}],
  ['fetch with a string', valid, { 'content-type': 'text/plain;charset=UTF-8' }],
  ['http --form', 'ticket_id=1', { 'content-type': `${form}; charset=utf-8` }],
  ['a beacon', valid, { 'content-type': 'text/plain' }],
  ['an empty type', valid, { 'content-type': '' }],
  ['the type of files', valid, { 'content-type': 'application/octet-stream' }],
];

test('a body that is not said to be JSON, as most clients send it, is one fault that names the header', async () => {
  for (const [client, body, headers = {}] of clients) {
    const problem = assertRefused(await post(body, headers));
    assert.equal([problem.status, problem.code, problem.faults], [415, 'request.media_type', undefined], client);
    const { 'content-type': type } = headers as Record<string, string>;
    assert.match(problem.detail, type ? `the header "Content-Type: ${type}"` : 'no Content-Type', client);
    assert.match(problem.detail, 'with the header "Content-Type: application/json"', client);
  }
});

test('a body that is no JSON object in UTF-8 is one fault that says why', async () => {
  const utf16 = Buffer.from(`\ufeff${valid}`, 'utf16le');
  for (const [what, body, code, detail] of [
    ['empty', '', 'request.malformed', 'the body is empty'],
    ['UTF-8 of Windows PowerShell', `\ufeff${valid}`, 'request.malformed', 'a byte order mark'],
    ['UTF-16 of Windows PowerShell', utf16, 'request.malformed', 'it is UTF-16'],
    ['Latin-1', Buffer.from(valid.replace('"', '"\xe9'), 'latin1'), 'request.malformed', 'not UTF-8 at byte 3'],
    ['cut short', valid.slice(0, -1), 'request.malformed', 'it ends where'],
    ['an array of requests', `[${valid}]`, 'request.invalid', '$ must be a JSON object, not an array'],
    ['encoded twice', JSON.stringify(valid), 'request.invalid', 'a string: it was encoded twice'],
    ['null', 'null', 'request.invalid', '$ must be a JSON object, not null'],
  ] as const) {
    for (const type of ['application/json', 'application/json; charset=utf-8', 'application/x+json']) {
      const problem = assertRefused(await post(body, { 'content-type': type }));
      assert.equal([problem.status, problem.code], [400, code], what);
      assert.ok((problem.faults?.length ?? 0) <= 1, what);
      assert.match(problem.detail, detail);
    }
  }
});

test('a body is looked at after the method and the path of its call', async () => {
  const answer = assertRefused(await send(status, '/', { method: 'POST', headers: json, body: '{"cut' }));
  assert.is(answer.code, 'request.method');
});

test('headers of any kind change nothing: what is refused stays refused, what is odd is said', async () => {
  const name = fc.stringMatching(/^[a-z][a-z-]{0,20}$/).map((text) => `x-${text}`);
  const value = fc.stringMatching(/^[ -~]{0,60}$/);
  const known = fc.record(
    {
      'x-callback-url': fc.oneof(fc.constantFrom('http://u:p@h/', 'file:///x', 'a, b', '//h'), value),
      'x-call-id': fc.oneof(fc.constant('y'.repeat(3_000)), value),
      'content-encoding': fc.constantFrom('gzip', 'br', 'identity', 'nonsense'),
      'transfer-encoding': fc.constant('chunked'),
      expect: fc.constant('100-continue'),
      authorization: value,
      'accept-encoding': value,
      'content-language': value,
    },
    { requiredKeys: [] },
  );
  await fc.assert(
    fc.asyncProperty(fc.dictionary(name, value, { maxKeys: 60 }), known, mutated, async (many, few, value) => {
      const body = JSON.stringify(value) ?? '';
      fc.pre(!isValid(body));
      assertRefused(await post(body, { ...json, ...many, ...few }));
    }),
    { numRuns: 60 },
  );
});

test('paths, methods and queries of any kind are refused', async () => {
  const segment = fc.oneof(
    fc.constantFrom('..', '.', '%2e%2e', '%00', '%ff', '%', '__proto__', ' '.trim(), 'ä'.normalize('NFD')),
    fc.webSegment({ size: 'medium' }),
  );
  const path = fc
    .array(segment, { minLength: 1, maxLength: 5 })
    .map((parts) => encodeURI(`/${parts.join('/')}`).replaceAll('%25', '%'));
  const query = fc
    .array(fc.tuple(fc.constantFrom('build_id', 'ticket_id', '__proto__', 'x', ''), fc.webQueryParameters()), {
      minLength: 1,
      maxLength: 4,
    })
    .map((pairs) => pairs.map(([name, value]) => `${name}=${value}`).join('&'));
  const method = fc.constantFrom('GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND', 'POST');
  await fc.assert(
    fc.asyncProperty(method, path, query, async (verb, where, what) => {
      // A path that names a build needs a look-up in RabbitMQ; none of these paths does.
      if (verb === 'POST') assertRefused(await send(buildImage, where, { method: verb, headers: json, body: '{}' }));
      else assertRefused(await send(buildImage, `${where}?${what}`, { method: verb }));
      assertRefused(await send(status, `${where}?${what}`, { method: verb }));
      assertRefused(await send(status, `/?build_id=${encodeURIComponent(what)}&${what}`, { method: 'GET' }));
    }),
    { numRuns: 60, examples: [['GET', '//..', 'build_id=']] },
  );
});

test('a small body does not get a large answer, nor write a large log', async () => {
  const linesBefore = buildImage.lines.length;
  for (const body of [
    Object.fromEntries(Array.from({ length: 60_000 }, (_, index) => [`k${index}`, 0])),
    { ['x'.repeat(900_000)]: 0 },
    { ppa_list: Array(150_000).fill('no') },
    { package_list: Array(1_024).fill(`${'a'.repeat(300)}!`) },
  ]) {
    const answer = await post(JSON.stringify(body));
    assertRefused(answer);
    assert.ok(answer.body.length < 64 * 1024, `${answer.body.length} bytes`);
  }
  for (const line of buildImage.lines.slice(linesBefore)) assert.ok(line.length < 4_096, `${line.length} characters`);
});

test('bodies that nest as deep as a body can, or are as large, are refused', async () => {
  const deep = 500_000;
  for (const body of [
    '['.repeat(deep) + ']'.repeat(deep),
    `{"ticket_id":${'['.repeat(deep - 10)}${']'.repeat(deep - 10)}}`,
    `${'{"a":'.repeat(150_000)}0${'}'.repeat(150_000)}`,
    `"${'\\u0000'.repeat(150_000)}"`,
    `[${'1e999,'.repeat(100_000)}0]`,
    'x'.repeat(2 ** 20 + 1),
  ]) {
    assertRefused(await post(body));
  }
});

test('bytes that are not HTTP get 4xx or nothing, and the function goes on', async () => {
  const head = 'POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
  const { port = 0 } = buildImage.address as { port?: number };
  for (const raw of [
    'GET\r\n\r\n',
    '\0\0\0\0\r\n\r\n',
    'POST / HTTP/9.9\r\nHost: x\r\n\r\n',
    `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}`,
    `${head}Content-Length: -1\r\n\r\n`,
    `${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}`,
    `${head}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n`,
    `${head}X-Long: ${'a'.repeat(100_000)}\r\n\r\n`,
    `${head}${Array.from({ length: 5_000 }, (_, index) => `X-${index}: y\r\n`).join('')}\r\n`,
    `${head}Bad\0Name: x\r\n\r\n`,
  ]) {
    const said = await exchangeRaw(port, raw);
    assert.match(said, /^$|^HTTP\/1\.1 4[0-9][0-9] /, JSON.stringify(raw.slice(0, 80)));
  }
  assertRefused(await post('{}'));
});

/** The answer to these bytes until the function closes the connection. */
function exchangeRaw(port: number, raw: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.end(raw, 'latin1'));
    let said = '';
    socket.setTimeout(patienceMs, () => socket.destroy(new Error('the function hangs')));
    socket.on('data', (chunk) => {
      said += chunk.toString('latin1');
    });
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(said) : reject(error),
    );
    socket.on('close', () => resolve(said));
  });
}

test.run();
