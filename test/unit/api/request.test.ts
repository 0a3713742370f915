import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { z } from 'zod';
import { anyBaseImage, baseImage } from '#lib/api/base-image.ts';
import { exampleRequest } from '#lib/api/examples.ts';
import { check } from '#lib/api/faults.ts';
import { PackageSpecification } from '#lib/api/package.ts';
import { formatPpa, Ppa } from '#lib/api/ppa.ts';
import { BuildRequest, buildRequest, diskSizeBytes, ExchangeName, parseBuildRequest } from '#lib/api/request.ts';
import { HttpUrl } from '#lib/api/url.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { holds } from '../holds.ts';

const accepts = (schema: { safeParse(value: unknown): { success: boolean } }, value: unknown) =>
  schema.safeParse(value).success;

function faultsOf(body: unknown): string[] {
  try {
    parseBuildRequest(body);
    return [];
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    assert.is((error as ImageBuilderError).code, 'request.invalid');
    return (error as ImageBuilderError).faults.map((fault) => fault.path);
  }
}

test('the example request is valid, with defaults filled in', () => {
  assert.equal(faultsOf(exampleRequest), []);
  const { ppa_list, package_list, cancel_url, ...least } = exampleRequest;
  assert.ok(ppa_list && package_list && cancel_url);
  const request = parseBuildRequest(least);
  assert.equal([request.ppa_list, request.package_list, request.cancel_url], [[], [], null]);
});

test('all faults of a request are reported at once, each with its place', () => {
  const faults = faultsOf({
    ticket_id: '',
    base_image: { image_type: 'floppy', url_list: ['ftp://x/y', 'http://u:p@host/i'], series: 'Trusty' },
    ppa_list: ['ppa:a/b', 'a/b'],
    package_list: ['ok', 'Not OK'],
    progress_trigger: 'amq.topic',
    'un known': 1,
  });
  assert.equal(
    new Set(faults),
    new Set([
      '$.ticket_id',
      '$.base_image.image_type',
      '$.base_image.url_list[0]',
      '$.base_image.url_list[1]',
      '$.base_image.series',
      '$.ppa_list[1]',
      '$.package_list[1]',
      '$.progress_trigger',
      '$["un known"]',
    ]),
  );
});

const kinds = {
  one: buildRequest(anyBaseImage([baseImage('cloud', {})])),
  two: buildRequest(
    anyBaseImage([baseImage('cloud', {}), baseImage('tarball', { device: z.enum(['phone', 'tablet']) })]),
  ),
};
const common = { url_list: ['http://x/i'], series: 'noble' };

for (const [title, of, base, faults] of [
  ['each kind has members of its own', 'two', { ...common, image_type: 'tarball', device: 'phone' }, {}],
  [
    'another kind has none of them',
    'two',
    { ...common, image_type: 'cloud', device: 'phone' },
    { device: 'is not known here' },
  ],
  [
    'a kind asks for its own members beside the shared ones',
    'two',
    { ...common, image_type: 'tarball', series: 'No', x: 1 },
    { device: 'is missing', series: /must be a series name/, x: 'is not known here' },
  ],
  [
    'a kind that is not known hides no other fault',
    'two',
    { image_type: 'floppy', device: 'radio', url_list: ['ftp://x'], series: 'No', x: 1 },
    {
      image_type: 'must be "cloud" or must be "tarball"',
      device: /^is not known here or /,
      'url_list[0]': /http or https/,
      series: /must be a series name/,
      x: 'is not known here',
    },
  ],
  [
    'without a kind, the rest is checked too',
    'two',
    { series: 5 },
    { image_type: 'is missing', url_list: 'is missing', series: 'must be a text' },
  ],
  [
    'one kind alone is named',
    'one',
    { ...common, image_type: 'floppy', x: 1 },
    { image_type: 'must be "cloud"', x: 'is not known here' },
  ],
  ['no name of JavaScript is a kind', 'two', { ...common, image_type: '__proto__' }, { image_type: /must be/ }],
  [
    'a digest is named with its algorithm, and has its length',
    'one',
    { ...common, image_type: 'cloud', checksum: `sha256:${'0'.repeat(63)}` },
    { checksum: /must be "sha256:"/ },
  ],
  [
    'a digest may be of each algorithm, in either case',
    'one',
    { ...common, image_type: 'cloud', checksum: `sha512:${'aB'.repeat(64)}` },
    {},
  ],
  ['a list is no base image', 'two', [], { '': 'must be an object' }],
  ['a missing base image is missing', 'two', undefined, { '': 'is missing' }],
] as const) {
  test(`kinds of image in a request: ${title}`, () => {
    const body = {
      ...exampleRequest,
      base_image: base,
      ppa_list: ['a/b'],
      package_list: ['Not OK'],
      progress_trigger: 5,
    };
    const found = new Map(check(kinds[of], body).faults?.map(({ path, message }) => [path, message]));
    for (const path of ['$.ppa_list[0]', '$.package_list[0]', '$.progress_trigger'])
      assert.ok(found.delete(path), path);
    const expected = Object.entries(faults).map(
      ([name, message]) => [`$.base_image${name && '.'}${name}`, message] as const,
    );
    assert.equal([...found.keys()].sort(), expected.map(([path]) => path).sort());
    for (const [path, message] of expected) assert.match(found.get(path) ?? '', message);
  });
}

test('a value of the wrong type is not called missing', () => {
  const { faults } = check(BuildRequest, { ...exampleRequest, progress_trigger: 5, ppa_list: null });
  assert.equal(faults, [
    { path: '$.ppa_list', message: 'must be a list' },
    { path: '$.progress_trigger', message: 'must be a text' },
  ]);
});

test('a fault says what a value must be, also where its schema has no words of its own', () => {
  const long = 'a'.repeat(3000);
  const body = {
    ...exampleRequest,
    ticket_id: '',
    ppa_list: [long],
    package_list: [long],
    cancel_url: `http://${long}/`,
  };
  const { faults } = check(BuildRequest, { ...body, hold_packages: [7] });
  assert.equal(
    faults?.filter(({ message }) => !message.startsWith('must ')),
    [],
  );
  assert.ok(faults?.some(({ message }) => message === 'must have at most 256 characters'));
});

test('every body is valid or refused as request.invalid with at least one fault', () => {
  const key = fc.constantFrom(...Object.keys(exampleRequest), '__proto__', 'constructor');
  const broken = fc.tuple(key, fc.jsonValue()).map(([name, value]) => ({ ...exampleRequest, [name]: value }));
  holds(
    fc.property(fc.oneof(fc.jsonValue(), fc.anything(), broken), (body) => {
      try {
        parseBuildRequest(body);
      } catch (error) {
        assert.instance(error, ImageBuilderError);
        assert.is((error as ImageBuilderError).code, 'request.invalid');
        assert.ok((error as ImageBuilderError).faults.length > 0);
      }
    }),
    { numRuns: 300 },
  );
});

test('a valid request says the same after it was parsed and written again', () => {
  const name = fc.stringMatching(/^[a-z0-9][a-z0-9+.-]{1,10}$/).filter((text) => text !== 'ubuntu');
  holds(
    fc.property(fc.array(fc.tuple(name, name), { maxLength: 5 }), (ppas) => {
      const ppa_list = ppas.map(([owner, ppa]) => `ppa:${owner}/${ppa}`);
      const request = parseBuildRequest({ ...exampleRequest, ppa_list });
      assert.equal(request.ppa_list.map(formatPpa), ppa_list);
    }),
    { numRuns: 100 },
  );
});

test('PPAs are taken in every form that add-apt-repository takes, and no other', () => {
  for (const [text, canonical] of [
    ['ppa:owner/name', 'ppa:owner/name'],
    ['ppa:owner', 'ppa:owner/ppa'],
    ['ppa:owner/ubuntu/name', 'ppa:owner/name'],
    ['PPA:owner/name', 'ppa:owner/name'],
    ['ppa:~owner/name', 'ppa:owner/name'],
    ['ppa:0ad.dev/a+b-c', 'ppa:0ad.dev/a+b-c'],
  ] as const) {
    assert.is(formatPpa(Ppa.parse(text)), canonical);
  }
  for (const text of [
    'owner/name',
    'ppa:',
    'ppa:/name',
    'ppa:owner/',
    'ppa:owner/debian/name',
    'ppa:owner/ubuntu/name/more',
    'ppa:owner/ubuntu',
    'ppa:Owner/name',
    'ppa:owner/na me',
    'ppa:owner/../etc',
    'ppa:~~owner/name',
    'ppa:owner/name\n',
    ' ppa:owner/name',
    'deb http://x y z',
  ]) {
    assert.is(accepts(Ppa, text), false, text);
  }
});

test('package names follow Debian policy, with a version, suite or architecture', () => {
  for (const text of [
    'g++',
    '0ad',
    'libc6:i386',
    'hello=2.10-3',
    'hello=1:2.10~rc1+b1',
    'hello:amd64=1.0',
    'vim/noble-updates',
  ]) {
    assert.is(accepts(PackageSpecification, text), true, text);
  }
  for (const text of [
    '',
    'a',
    'Hello',
    '-y',
    '--force',
    'hello world',
    'hello;reboot',
    'hello=',
    'hello/',
    '+x',
    'hello$(x)',
    'hello\n',
    '../x',
    './hello.deb',
  ]) {
    assert.is(accepts(PackageSpecification, text), false, text);
  }
});

test('the forms of apt-get that are not taken here are each called what they are', () => {
  for (const [text, reason] of [
    ['jq-', /"jq-" is apt-get’s way to remove a package/],
    ['php*', /"php\*" is a pattern/],
    ['^php[0-9]$', /must be a Debian package name/],
    ['linux-image-[0-9]', /is a pattern/],
    ['?installed', /is a pattern of apt/],
    ['standard^', /"standard\^" is a task/],
    ['./hello_1.0_all.deb', /is a file/],
    ['https://example.org/x.deb', /is a file/],
    ['hello=', /ends before the version/],
    ['Hello', /has a capital letter/],
    ['jq=1.*', /"jq=1\.\*" has a pattern in place of a version or suite/],
    ['jq (>= 1.5)', /has a range of versions/],
    ['ppa:owner', /"ppa:owner" is a PPA, which belongs into ppa_list/],
    ['ppa:owner/name', /is a PPA/],
    ['hello world', /must be a Debian package name/],
  ] as const) {
    const { error } = PackageSpecification.safeParse(text);
    assert.match(error?.issues[0]?.message ?? '', reason, text);
  }
});

test('exchange names are those that AMQP allows and the broker does not own', () => {
  for (const name of ['lander', 'lander.progress', 'a:b_c-d', 'x'.repeat(127)])
    assert.is(accepts(ExchangeName, name), true);
  for (const name of ['', 'amq.topic', 'imagebuilder.builds', 'a b', 'ä', 'a/b', 'x'.repeat(128), 'x\n']) {
    assert.is(accepts(ExchangeName, name), false, name);
  }
});

test('URLs are absolute http or https without credentials', () => {
  for (const url of ['http://a/b', 'https://[::1]:8080/x?y=z']) assert.is(accepts(HttpUrl, url), true, url);
  for (const url of [
    'ftp://a/b',
    '/x',
    'http://',
    'http://u@h/',
    'http://u:p@h/',
    'file:///etc/passwd',
    'javascript:1',
  ]) {
    assert.is(accepts(HttpUrl, url), false, url);
  }
});

test('a disk size is a whole number of MiB, GiB or TiB', () => {
  const sized = (disk_size: unknown) => ({ ...exampleRequest, disk_size });
  for (const [size, bytes] of [
    ['20GiB', 20 * 2 ** 30],
    ['20480MiB', 20 * 2 ** 30],
    ['1TiB', 2 ** 40],
  ] as const) {
    assert.is(diskSizeBytes(parseBuildRequest(sized(size)).disk_size ?? ''), bytes);
  }
  for (const size of ['20G', '20GB', '0GiB', '1.5GiB', 20, '', '20GiB ', '9999999999MiB', null]) {
    const fault = thrown(() => parseBuildRequest(sized(size)));
    assert.match(fault, /\$\.disk_size must be/, String(size));
  }
});

test('the format of the result is qcow2 or raw, and qcow2 where none is asked for', () => {
  assert.is(parseBuildRequest(exampleRequest).output_format, 'qcow2');
  assert.is(parseBuildRequest({ ...exampleRequest, output_format: 'raw' }).output_format, 'raw');
  assert.match(
    thrown(() => parseBuildRequest({ ...exampleRequest, output_format: 'vmdk' })),
    /\$\.output_format must be "qcow2" or "raw"/,
  );
});

function thrown(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return String(error);
  }
  return 'nothing was thrown';
}

test.run();
