import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import type { ImageBuilderError } from '#lib/errors.ts';
import { retrying } from '#lib/http/retrying.ts';
import { createLog } from '#lib/log.ts';
import { chooseStores } from '#lib/store/choose.ts';
import { findEndpoint } from '#lib/store/openstack/catalogue.ts';
import type { OpenStackConfiguration } from '#lib/store/openstack/configuration.ts';
import { storeError } from '#lib/store/openstack/error.ts';
import { planSegments } from '#lib/store/swift/limits.ts';
import { chooseDigest, temporaryUrl } from '#lib/store/swift/temporary-url.ts';
import { holds } from '../holds.ts';

const catalog = [
  { type: 'identity', endpoints: [] },
  {
    type: 'image',
    endpoints: [
      { interface: 'public', region_id: 'north', url: 'http://north:9292/' },
      { interface: 'internal', region_id: 'north', url: 'http://north.internal:9292' },
      { interface: 'public', region_id: 'south', url: 'http://south:9292' },
    ],
  },
];

const wanted = (type: 'image' | 'object-store', region: string | null) =>
  ({ type, catalogueType: type, catalogueName: null, region, interface: 'public', endpoint: null }) as const;

test('an endpoint is found by type, interface and region', () => {
  const find = (region: string | null, name: 'public' | 'internal') =>
    findEndpoint(catalog, { ...wanted('image', region), interface: name }).url;
  assert.is(find('south', 'public'), 'http://south:9292');
  assert.is(find('north', 'public'), 'http://north:9292');
  assert.is(find(null, 'internal'), 'http://north.internal:9292', 'the only one needs no region');
});

test('a missing endpoint is reported with those that there are', () => {
  const cases = [
    [wanted('image', 'west'), /in the region west; .*public in north, public in south/],
    [{ ...wanted('image', 'south'), interface: 'internal' }, /no internal endpoint of image \(Glance\)/],
    [wanted('object-store', null), /it has the services identity, image/],
    [
      { ...wanted('image', null), catalogueName: 'glance2' },
      /no public endpoint of image \(Glance\) with the name glance2/,
    ],
    [wanted('image', null), /several regions \(north, south\); choose one/],
  ] as const;
  for (const [each, message] of cases) {
    assert.throws(
      () => findEndpoint(catalog, each),
      (error: ImageBuilderError) => error.code === 'store.refused' && message.test(error.message),
    );
  }
});

const quick = { delayMs: 1, maximumDelayMs: 2, patienceMs: 1_000 };
const never = new AbortController().signal;

test('a failure that may pass is tried again, any other is not', async () => {
  let calls = 0;
  const failing = (transient: boolean, times: number) => async () => {
    calls += 1;
    if (calls <= times) throw storeError('failed', { transient });
    return 'done';
  };
  assert.is(await retrying(failing(true, 3), { signal: never, policy: quick }), 'done');
  assert.is(calls, 4);
  calls = 0;
  await retrying(failing(false, 1), { signal: never, policy: quick }).then(
    () => assert.unreachable(),
    () => assert.is(calls, 1),
  );
});

test('patience ends by number of attempts and by waiting, with the last error', async () => {
  for (const policy of [
    { ...quick, attempts: 3 },
    { delayMs: 20, maximumDelayMs: 20, patienceMs: 30 },
  ]) {
    let calls = 0;
    const error = await retrying(
      async () => {
        calls += 1;
        throw storeError(`failure ${calls}`, { transient: true });
      },
      { signal: never, policy },
    ).catch((thrown: Error) => thrown);
    assert.ok(calls > 1 && calls <= 4, String(calls));
    assert.is((error as Error).message, `failure ${calls}`);
  }
});

const limits = { maximumFileBytes: 100, maximumSegments: 10, temporaryUrlDigests: [] };

test('the segments of an image are all of it, in order, within the limits of the cluster', () => {
  holds(
    fc.property(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 300 }), (size, segmentBytes) => {
      const segments = planSegments(size, segmentBytes, limits);
      let next = 0;
      for (const { startByte, bytes } of segments) {
        assert.is(startByte, next);
        assert.ok(bytes > 0 && bytes <= limits.maximumFileBytes);
        next += bytes;
      }
      assert.is(next, size);
      assert.ok(segments.length <= limits.maximumSegments);
      if (size <= Math.min(segmentBytes, limits.maximumFileBytes)) assert.is(segments.length, 1);
    }),
  );
});

test('an image that the cluster cannot hold is refused, with how much it can', () => {
  assert.throws(() => planSegments(1001, 100, limits), /at most 1000 bytes, and the image has 1001/);
  assert.throws(() => planSegments(101, 10, { ...limits, maximumSegments: null }), /at most 100 bytes/);
  assert.is(planSegments(100, 10, { ...limits, maximumSegments: null }).length, 1, 'without segments one object');
});

test('a TempURL is signed over the path as the cluster sees it', () => {
  // Computed with Debian's `swift tempurl --absolute --digest sha256 GET 1700000000 '/v1/AUTH_a/c/o x' key`.
  const url = temporaryUrl({
    url: 'https://host/swift/v1/AUTH_a/c/o%20x',
    key: 'key',
    expires: 1_700_000_000,
    fileName: 'o x.qcow2',
    digest: 'sha256',
  });
  const { searchParams, pathname } = new URL(url);
  assert.is(pathname, '/swift/v1/AUTH_a/c/o%20x');
  assert.is(searchParams.get('temp_url_expires'), '1700000000');
  assert.is(searchParams.get('filename'), 'o x.qcow2');
  assert.is(searchParams.get('temp_url_sig'), '10566e70b6a8f7a173031697a5f0e5e64a94f0b3fd3b763437631fbebba67d16');
});

test('a TempURL is signed with the best digest that the cluster takes', () => {
  assert.is(chooseDigest(['sha1', 'sha256', 'sha512']), 'sha256');
  assert.is(chooseDigest(['sha1', 'sha512']), 'sha512');
  assert.is(chooseDigest(['sha1']), 'sha1');
  assert.throws(() => chooseDigest(['md5']), /no TempURLs signed with sha256, sha512, sha1: it takes md5/);
  assert.throws(() => chooseDigest([]), /it has none/);
});

const openStack: OpenStackConfiguration = {
  source: 'a test',
  authUrl: 'http://127.0.0.1:1/v3',
  identity: { kind: 'application_credential', credential: { id: 'x' }, secret: 'y' },
  services: { image: wanted('image', null), 'object-store': wanted('object-store', null) },
  trust: null,
  secrets: [],
};

test('images go to the store that is configured, by type where OpenStack is there', () => {
  const config = loadConfig({});
  const kinds = (store: 'auto' | 'file' | 'glance' | 'swift', there: boolean) => {
    const choose = chooseStores({
      settings: { ...config.folders, ...config.store, ...config.http, store },
      openStack: there ? openStack : null,
      userAgent: 'test',
      log: createLog({ write: () => {} }),
    });
    return ['cloud', 'touch', 'cd'].map((type) => choose.for(type).kind);
  };
  assert.equal(kinds('auto', false), ['file', 'file', 'file']);
  assert.equal(kinds('auto', true), ['glance', 'swift', 'swift']);
  assert.equal(kinds('file', true), ['file', 'file', 'file']);
  assert.equal(kinds('glance', true), ['glance', 'glance', 'glance']);
  assert.equal(kinds('swift', true), ['swift', 'swift', 'swift']);
  assert.throws(() => kinds('glance', false), /set OS_CLOUD or OS_AUTH_URL, or the secret openstack-clouds/);
});

const propertiesOf = (text: string) => loadConfig({ IMAGEBUILDER_GLANCE_PROPERTIES: text }).store.glanceProperties;

test('properties have names and values as Glance takes them', () => {
  for (const [text, properties] of [
    ['', {}],
    ['hw_disk_bus=virtio, hw_machine_type=q35,', { hw_disk_bus: 'virtio', hw_machine_type: 'q35' }],
    ['trait:HW_CPU_X86_AVX2=required', { 'trait:HW_CPU_X86_AVX2': 'required' }],
    ['a=b=c\nA = two words', { a: 'b=c', A: 'two words' }],
    ['a="x, y=z", b=1', { a: 'x, y=z', b: '1' }],
    ['a="say \\"x\\""', { a: 'say "x"' }],
    ['a=,b=""', { a: '', b: '' }],
    ['{"a b": "c, d", "e": ""}', { 'a b': 'c, d', e: '' }],
    ['Min_Disk=5', { Min_Disk: '5' }],
  ] as const) {
    assert.equal(propertiesOf(text), properties, text);
  }
});

test('properties that Glance or Image Builder own are refused by name, with the setting in their place', () => {
  const base =
    'id status visibility owner checksum size virtual_size os_hash_algo os_hash_value created_at updated_at self schema file min_disk min_ram protected tags name disk_format container_format os_hidden locations stores direct_url deleted deleted_at location';
  for (const name of [...base.split(' '), 'os_glance_x', 'imagebuilder_build_id', 'ticket_id']) {
    assert.throws(
      () => propertiesOf(`hw_disk_bus=virtio,${name}=5`),
      (error: Error) => error.message.includes(`IMAGEBUILDER_GLANCE_PROPERTIES must not have ${name}: `),
    );
  }
  assert.throws(() => propertiesOf('min_disk=5'), /IMAGEBUILDER_GLANCE_MIN_DISK sets it/);
});

test('properties that could be read in two ways are refused, and say how to write them', () => {
  for (const [text, message] of [
    ['virtio', /virtio is none/],
    ['=x', /=x is none/],
    ['a=b,c', /c is none \(a value with a comma needs double quotes\)/],
    ['a=b c=d', /whether the value of a ends at its first blank/],
    ['a="b', /a quote that is not closed/],
    ['a="b" c', /text between the end of a quote and the next comma/],
    ['a=1,a=2', /has a twice/],
    ['{"a": 5}', /must have text as the value of a/],
    ['{a', /begins like JSON/],
    [`${'x'.repeat(256)}=1`, /names of 1 to 255 characters/],
    [`x=${'é'.repeat(32_768)}`, /more than 65535 bytes in x/],
  ] as const) {
    assert.throws(() => propertiesOf(text), message, text.slice(0, 20));
  }
});

test.run();
