import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { findAddresses } from '../../../functions/status/page/addresses.js';

/** The live page finds the API by its own address. */

const server = 'https://builds.example';
const underApi = (prefix: string) => ({
  status: `${server}${prefix}/api/v1/imagebuilder/status`,
  events: `${server}${prefix}/api/v1/imagebuilder/status/events`,
  builds: `${server}${prefix}/api/v1/build_image`,
  images: `${server}${prefix}/api/v1/images`,
});

test('the page finds the API beside its own path, behind any prefix', () => {
  assert.equal(findAddresses(`${server}/`, ''), underApi(''));
  assert.equal(findAddresses(`${server}/api/v1/imagebuilder/#build/1`, ''), underApi(''));
  assert.equal(findAddresses(`${server}/a/b/api/v1/imagebuilder/?x`, ''), underApi('/a/b'));
  assert.equal(findAddresses(`${server}/api/v1/imagebuilder/status/page`, ''), underApi(''));
  assert.equal(findAddresses(`${server}/team/`, ''), underApi('/team'));
});

test('the page finds the other function of OpenFaaS, behind any prefix and with its namespace', () => {
  for (const prefix of ['', '/gateway', '/a/function/b']) {
    for (const [namespace, slash] of [
      ['', ''],
      ['.openfaas-fn', '/'],
    ]) {
      const functions = `${server}${prefix}/function`;
      assert.equal(findAddresses(`${functions}/status${namespace}/page${slash}`, 'https://other.example'), {
        status: `${functions}/status${namespace}/`,
        events: `${functions}/status${namespace}/events`,
        builds: `${functions}/build-image${namespace}`,
        images: `${functions}/images${namespace}`,
      });
    }
  }
});

test('the public URL says where the API is for a page at a path of its own, on the same server only', () => {
  assert.equal(findAddresses(`${server}/live`, `${server}/images`), underApi('/images'));
  assert.equal(findAddresses(`${server}/live/`, `${server}/images/`), underApi('/images'));
  for (const foreign of ['https://other.example/images', 'http://builds.example/images', 'no URL', '']) {
    assert.equal(findAddresses(`${server}/live/`, foreign), underApi('/live'), foreign);
  }
});

test('no path leads the token to another server', () => {
  for (const path of [
    '//evil.example/',
    '//evil.example/function/status/page',
    '//evil.example/api/v1/imagebuilder/',
  ]) {
    const { status, events, builds } = findAddresses(`${server}${path}`, '');
    for (const url of [status, events, builds]) assert.is(new URL(url).origin, server, url);
  }
});

test.run();
