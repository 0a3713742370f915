import { generateKeyPairSync } from 'node:crypto';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exampleRequest } from '#lib/api/examples.ts';
import { BuildRequest, parseBuildRequest } from '#lib/api/request.ts';
import { loadConfig } from '#lib/config/load.ts';
import type { FetchedFile } from '#lib/fetch/base-images.ts';
import { type KeyedBuild, requestKey } from '#lib/pipeline/request-key.ts';

const config = loadConfig({});
const settings = {
  ...{ ...config.folders, ...config.image, ...config.limits, ...config.packages },
  ...{ ...config.tools, ...config.verification, ...config.provenance, vmNetwork: false },
};
const file: FetchedFile = {
  ...{ path: '/folder/base', sizeBytes: 1, sha256: 'a'.repeat(64), url: 'http://a/b.qcow2', fromCache: false },
  ...{ verifiedBy: 'unverified' as const, checksumsUrl: null, checksumAlgorithms: [], signedBy: null },
  ...{ isSound: true, fileName: 'b.qcow2', beside: [], isNamed: true },
};
const source = {
  ppa: { owner: 'example', name: 'tools' },
  url: 'http://ppa.example/tools',
  key: { fingerprint: 'A'.repeat(40), armored: 'key', binary: Buffer.from('key'), weakness: null },
};
const request = (changes: object = {}) =>
  parseBuildRequest({ ...exampleRequest, debconf_selections: [], hold_packages: [], ...changes });
const base: KeyedBuild = {
  ...{ request: request(), caller: 'lander', files: [file], sources: [source] },
  ...{ kind: { baseFile: { formats: ['qcow2'], description: '' } }, guest: { kind: 'vm' }, isBooted: false },
};
const keyOf = (changes: Partial<KeyedBuild> = {}, more: object = {}) =>
  requestKey({ ...base, ...changes }, { ...settings, ...more });
const ofRequest = (changes: object) => keyOf({ request: request(changes) });

test('another ticket, place of the base image or receiver of events is the same request', () => {
  const changes = [
    { ticket_id: 'other' },
    { progress_trigger: 'other' },
    { cancel_url: 'http://other.example/x' },
    { callback_url: 'http://other.example/y' },
    { base_image: { ...exampleRequest.base_image, url_list: ['http://mirror.example/image.img'] } },
    { reuse: true },
  ];
  for (const change of changes) assert.is(ofRequest(change), keyOf(), JSON.stringify(change));
  assert.is(keyOf({ files: [{ ...file, url: 'http://c/d', fileName: 'd', fromCache: true }] }), keyOf());
});

test('everything else of a request makes another one', () => {
  const changes: Record<string, object> = {
    package_list: { package_list: ['other'] },
    debconf_selections: { debconf_selections: ['tzdata tzdata/Areas select Europe'] },
    foreign_architectures: { foreign_architectures: ['armhf'] },
    allow_downgrades: { allow_downgrades: !request().allow_downgrades },
    hold_packages: { hold_packages: ['tree'] },
    disk_size: { disk_size: '99GiB' },
    output_format: { output_format: 'raw' },
  };
  const other = ['ticket_id', 'progress_trigger', 'cancel_url', 'callback_url', 'reuse'];
  // The sources stand for the PPAs, the files for the base image, and the operator may want a boot check as well.
  const elsewhere = ['base_image', 'ppa_list', 'boot_check'];
  assert.equal(Object.keys(BuildRequest.shape).sort(), [...Object.keys(changes), ...other, ...elsewhere].sort());
  const keys = Object.values(changes).map(ofRequest);
  assert.is(new Set([...keys, keyOf()]).size, keys.length + 1);
});

test('another caller, base image, series, signing key, guest, boot check or setting makes another one', () => {
  const keys = [
    keyOf({ caller: null }),
    keyOf({ caller: 'other' }),
    keyOf({ files: [{ ...file, sha256: 'b'.repeat(64) }] }),
    ofRequest({ base_image: { ...exampleRequest.base_image, series: 'other' } }),
    keyOf({ sources: [{ ...source, key: { ...source.key, armored: 'other' } }] }),
    keyOf({ sources: [{ ...source, url: 'http://other.example' }] }),
    keyOf({ sources: [] }),
    keyOf({ guest: { kind: 'host' } }),
    keyOf({ isBooted: true }),
    keyOf({}, { installRecommends: !settings.installRecommends }),
    keyOf({}, { compression: 'zstd' }),
    keyOf({}, { maximumVirtualBytes: 1 }),
    keyOf({}, { maximumPackages: 1 }),
    keyOf({}, { xzPreset: 1 }),
    keyOf({}, { vmNetwork: true }),
    keyOf({}, { provenanceKey: generateKeyPairSync('ed25519').privateKey }),
  ];
  assert.is(new Set([...keys, keyOf()]).size, keys.length + 1);
});

test('the parts of a release count by their names and by what lies beside them', () => {
  const kind = { baseFile: { ...base.kind.baseFile, mayHaveParts: true } };
  const beside = [{ role: 'companion', name: 'b.json', content: Buffer.from('{}') } as const];
  const keys = [
    keyOf({ kind }),
    keyOf({ kind, files: [{ ...file, fileName: 'other' }] }),
    keyOf({ kind, files: [{ ...file, isNamed: false }] }),
    keyOf({ kind, files: [{ ...file, beside }] }),
  ];
  assert.is(new Set(keys).size, keys.length);
});

test.run();
