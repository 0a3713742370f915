import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { parseQuery } from '#lib/api/query.ts';
import { BuildRequest, parseBuildRequest } from '#lib/api/request.ts';
import { debconfLines, type RequestFlags, requestFromFlags } from '#lib/client/request.ts';
import { explainFaults } from '#lib/client/request-source.ts';
import { ImageBuilderError } from '#lib/errors.ts';

const good: RequestFlags = { imageUrls: ['http://images.example/a.img'], series: 'noble', ppas: [], packages: [] };

/** The error of the API for these flags, as the command shows it. */
function refusal(flags: Partial<RequestFlags>): ImageBuilderError {
  const all = { ...good, ...flags };
  try {
    parseBuildRequest(requestFromFlags(all, () => 'command-1'));
  } catch (error) {
    return explainFaults(error, { flags: all }) as ImageBuilderError;
  }
  throw new Error('the API has no fault to find');
}

const cases: readonly (readonly [string, Partial<RequestFlags>, string])[] = [
  ['ticket_id', { ticketId: '' }, '--ticket-id "" must be a string of 1 to 256 characters'],
  ['progress_trigger', { progressTrigger: 'a b' }, '--progress-trigger "a b" must be an AMQP exchange name'],
  ['cancel_url', { cancelUrl: 'me' }, '--cancel-url "me" must be an absolute http or https URL'],
  ['callback_url', { callbackUrl: 'ftp://me' }, '--callback-url "ftp://me" must be an absolute'],
  ['url_list', { imageUrls: ['http://a.example/', 'b'] }, '--image-url "b" must be an absolute'],
  ['url_list', { imageUrls: Array(33).fill('http://a.example/') }, '--image-url must hold at most 32 URLs'],
  ['series', { series: 'Noble' }, '--series "Noble" must be a series name'],
  ['checksum', { checksum: 'md5:0' }, '--checksum "md5:0" must be "sha256:"'],
  ['ppa_list', { ppas: ['ppa:o/n', 'foo'] }, '--ppa "foo" must be "ppa:owner/name"'],
  ['package_list', { packages: ['hello', 'a_b'] }, '--package "a_b" must be a Debian package name'],
  ['package_list', { packages: ['Hello'] }, '--package "Hello" has a capital letter'],
  ['foreign_architectures', { foreignArchitectures: ['x86'] }, '--foreign-architecture "x86" must be an architecture'],
  ['hold_packages', { hold: ['ab=1'] }, '--hold "ab=1" must be a package name without a version'],
  ['disk_size', { diskSize: '20GB' }, '--disk-size "20GB" must be a whole number with MiB'],
  ['output_format', { outputFormat: 'vmdk' }, '--output-format "vmdk" must be "qcow2" or "raw"'],
  [
    'debconf_selections',
    { debconf: { path: 'answers', lines: debconfLines('# one\na a/b string c\n\nnonsense\n') } },
    '--debconf-selections answers, line 4: must be a line "owner question type value"',
  ],
  [
    'debconf_selections',
    { debconf: { path: 'answers', lines: debconfLines('a a/b string c\n'.repeat(1025)) } },
    '--debconf-selections answers must hold at most 1024 answers',
  ],
];

for (const [member, flags, beginning] of cases) {
  test(`a fault of ${member} names the option, and the value: ${beginning.slice(0, 30)}`, () => {
    const { message, code } = refusal(flags);
    assert.is(code, 'request.invalid');
    assert.is(message.slice(0, beginning.length), beginning);
    assert.not.match(message, /\$/);
  });
}

test('the cases are all members that a person can get wrong', () => {
  const members = [...Object.keys(BuildRequest.shape), 'url_list', 'series', 'checksum'];
  const covered = new Set(cases.map(([member]) => member));
  // The image type is set by the command, and switches have no value.
  const others = ['base_image', 'allow_downgrades', 'boot_check', 'reuse'];
  assert.equal(members.filter((name) => !covered.has(name)).sort(), others.sort());
});

test('several faults keep their order, and each its option', () => {
  const { message, faults } = refusal({ series: 'Noble', ppas: ['foo', 'ppa:Bar/baz'] });
  assert.match(message, /^the request has 3 faults: --series "Noble" must/);
  assert.equal(
    faults.map(({ path }) => path),
    ['--series "Noble"', '--ppa "foo"', '--ppa "ppa:Bar/baz"'],
  );
});

test('no fault shows a password: neither of a URL nor of an answer for debconf', () => {
  const urls = ['http://user:hunter2@a.example/x.img?sig=hunter3', 'htp://user:hunter2@a.example/'];
  const { message } = refusal({ imageUrls: urls });
  assert.match(message, /--image-url "http:\/\/…@a\.example\/x\.img\?…" must not carry a user name or password/);
  assert.not.match(message, 'hunter');
  const lines = debconfLines('a a/b nonsense hunter2\n');
  assert.not.match(refusal({ debconf: { path: 'answers', lines } }).message, 'hunter');
});

test('text of others in a value cannot steer the terminal, and is cut', () => {
  assert.match(refusal({ ppas: [`\u001b[2J${'x'.repeat(10_000)}`] }).message.slice(0, 100), /^--ppa "x{79}…"/);
});

test('a fault of a file keeps its path, after the name of the file', () => {
  const explain = (body: unknown) => {
    try {
      parseBuildRequest(body);
    } catch (error) {
      return (explainFaults(error, { file: 'a: b.json' }) as ImageBuilderError).message;
    }
    return 'no fault';
  };
  const body = requestFromFlags(good, () => 'command-1');
  assert.match(explain({ ...body, ppa_list: ['foo'] }), /^a: b\.json: \$\.ppa_list\[0\] must be "ppa:owner\/name"/);
  assert.match(explain({ ...body, ppa_list: 1, series: 2 }), /^a: b\.json: the request has 2 faults: \$\./);
});

test('a fault of a query names the option of the same name', () => {
  const query = { limit: '0', ticket_id: '' };
  const error = (() => {
    try {
      return parseQuery(z.object({ limit: z.coerce.number().min(1), ticket_id: z.string().min(1) }), query);
    } catch (thrown) {
      return explainFaults(thrown, { query });
    }
  })() as ImageBuilderError;
  assert.is(
    error.message,
    'the query has faults: --limit "0" must be at least 1; --ticket-id "" must have at least 1 characters',
  );
});

test('other errors stay as they are', () => {
  const error = new ImageBuilderError('request.conflict', 'another request with this ticket is in work');
  assert.is(explainFaults(error, { flags: good }), error);
});

test('answers for debconf know the line that they begin on', () => {
  assert.equal(debconfLines('# a \\\n# b\none \\\n  two\n\nthree'), [
    { text: 'one   two', number: 3 },
    { text: 'three', number: 6 },
  ]);
});

test.run();
