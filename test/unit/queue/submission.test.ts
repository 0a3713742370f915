import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { digestRequest } from '#lib/queue/submission.ts';

const digest = (values: object = {}, callbackUrl: string | null = null) =>
  digestRequest(parseBuildRequest({ ...exampleRequest, ...values }), callbackUrl);
const baseImage = (values: object) => ({ base_image: { ...exampleRequest.base_image, ...values } });

test('another spelling of a request has the same digest', () => {
  const reversed = Object.fromEntries(Object.entries(exampleRequest).reverse());
  assert.is(digestRequest(parseBuildRequest(reversed), null), digest());
  assert.is(digest({ ppa_list: ['PPA:~example/ubuntu/tools'] }), digest());
  assert.is(digest({ ticket_id: 77 }), digest({ ticket_id: '77' }));
  assert.is(digest({ callback_url: null }), digest());
  assert.is(digest({ ppa_list: [] }), digest({ ppa_list: undefined }));
  assert.is(digest({ cancel_url: null }), digest({ cancel_url: undefined }));
});

test('everything that decides what is built or who hears of it changes the digest', () => {
  const digests = [
    digest(),
    digest({ ticket_id: 'T-78' }),
    digest({ progress_trigger: 'elsewhere' }),
    digest({ cancel_url: null }),
    digest({ ppa_list: [] }),
    digest({ ppa_list: ['ppa:example/tools', 'ppa:example/more'] }),
    digest({ package_list: ['tree=1.6.0-1', 'hello'] }),
    digest({ package_list: ['hello'] }),
    digest(baseImage({ series: 'noble' })),
    digest(baseImage({ url_list: ['http://elsewhere.example.org/a.img'] })),
    digest({}, 'http://caller.example.org/done'),
    digest({}, 'http://caller.example.org/other'),
  ];
  assert.is(new Set(digests).size, digests.length);
});

test.run();
