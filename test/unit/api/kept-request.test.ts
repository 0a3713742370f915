import * as fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { exampleKept, KeptRequest, keepRequest, maximumKeptBytes, showRequest } from '#lib/api/kept-request.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { holds } from '../holds.ts';

const keep = (values: object = {}, callbackUrl: string | null = null) =>
  keepRequest(parseBuildRequest({ ...exampleRequest, debconf_selections: [], ...values }), callbackUrl);
const images = (...urls: string[]) => ({ base_image: { ...exampleRequest.base_image, url_list: urls } });
const secret = (path: string) => ({ path, reason: 'secret' });

test('a request without secrets is kept as it was sent', () => {
  const checksum = `sha256:${'a'.repeat(64)}`;
  const values = {
    base_image: { ...exampleRequest.base_image, checksum },
    ...{ foreign_architectures: ['i386'], allow_downgrades: true, disk_size: '20GiB', output_format: 'raw' },
    boot_check: true,
    reuse: false,
  };
  const { not_kept, callback_url, ...kept } = keep(values, 'https://caller.example/done');
  const { ticket_id: _, progress_trigger: __, ...sent } = exampleRequest;
  assert.equal(kept, { ...sent, ...values, debconf_selections: [] });
  assert.equal([not_kept, callback_url], [[], 'https://caller.example/done']);
  assert.ok(KeptRequest.safeParse(exampleKept).success);
});

test('queries and fragments of URLs are not kept, whatever their names', () => {
  const kept = keep(
    {
      ...images('http://a.example/x.img?X-Amz-Signature=canary', 'http://b.example/x.img', 'http://c.example/x#canary'),
      cancel_url: 'http://lander.example/t?canary',
    },
    'https://caller.example/done?id=canary',
  );
  assert.not.match(JSON.stringify(kept), 'canary');
  assert.equal(kept.base_image.url_list, ['http://a.example/x.img', 'http://b.example/x.img', 'http://c.example/x']);
  assert.equal(kept.not_kept, [
    secret('$.base_image.url_list[0]'),
    secret('$.base_image.url_list[2]'),
    secret('$.cancel_url'),
    secret('$.callback_url'),
  ]);
});

test('a query that tells only what is shown anyway is kept', () => {
  const url = 'http://lander.example/jobs?ticket=T-77&series=trusty';
  assert.equal([keep({ cancel_url: url }).cancel_url, keep({ cancel_url: url }).not_kept], [url, []]);
  for (const other of [`${url}&token=x`, `${url}#x`, `${url}&T-77`, 'http://lander.example/jobs?ticket=T-78']) {
    assert.equal(keep({ cancel_url: other }).not_kept, [secret('$.cancel_url')], other);
  }
});

test('no answer for debconf is kept, of whatever type', () => {
  const kept = keep({
    debconf_selections: [
      'mysql-server mysql-server/root_password password canary',
      'tzdata tzdata/Areas select canary',
    ],
  });
  assert.not.match(JSON.stringify(kept), 'canary');
  assert.equal(kept.debconf_selections[1], { owner: 'tzdata', question: 'tzdata/Areas', type: 'select' });
  assert.equal(kept.not_kept, [secret('$.debconf_selections')]);
});

test('only the server is shown of the URLs whose paths may be secrets', () => {
  const { cancel_url, callback_url } = showRequest(keep({}, 'https://hooks.example:8443/services/T0/B0/canary'));
  assert.equal([cancel_url, callback_url], ['http://lander.example.org/…', 'https://hooks.example:8443/…']);
});

test('a request of any size is kept within its limit, and says what is missing', () => {
  const large = keep({ package_list: Array.from({ length: 1024 }, (_, index) => `libpackage-number-${index}`) });
  assert.ok(large.package_list.length > 200, `${large.package_list.length} packages are kept`);
  assert.equal(large.not_kept[0], { path: '$.package_list', reason: 'size' });
  const url = fc.webUrl({ withQueryParameters: true, withFragments: true }).filter((text) => text.length < 2048);
  const longUrl = fc.nat(1_900).map((length) => `http://images.example/${'é'.repeat(length)}?canary`);
  const name = fc.stringMatching(/^[a-z][a-z0-9]{2,100}$/);
  const many = { maxLength: 1024, size: 'max' } as const;
  holds(
    fc.property(
      fc.array(fc.oneof(url, longUrl), { minLength: 1, maxLength: 32, size: 'max' }),
      fc.array(name, many),
      fc.array(name, many),
      fc.array(
        name.map((question) => ({ owner: question, question, type: 'string', value: 'canary' })),
        many,
      ),
      longUrl,
      (urls, packages, held, answers, cancel) => {
        const values = { package_list: packages, hold_packages: held, debconf_selections: answers, cancel_url: cancel };
        const kept = keep({ ...images(...urls), ...values }, cancel);
        assert.ok(Buffer.byteLength(JSON.stringify(kept)) <= maximumKeptBytes);
        assert.not.match(JSON.stringify(kept), 'canary');
        if (kept.package_list.length < packages.length) {
          assert.ok(kept.not_kept.some(({ path, reason }) => path === '$.package_list' && reason === 'size'));
        }
        assert.equal(KeptRequest.parse(kept), kept);
      },
    ),
    { numRuns: 20 },
  );
});

test.run();
