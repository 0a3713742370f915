import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { repositoryMaterials } from '#lib/pipeline/materials.ts';

/** Repositories among the materials of the provenance. */

const uri = 'http://a.example/debian';
const place = (suite: string, component = 'main') => ({ uri, suite, component });
const file = {
  ...{ url: `${uri}/dists/stable/InRelease`, sha256: 'a'.repeat(64), origin: 'A', suite: 'stable', codename: null },
  ...{ date: '2024-07-13T09:43:12Z', validUntil: null },
};
const signers = [{ fingerprint: 'B'.repeat(40), subkey: null }];

test('a repository counts the packages that it has, and one that is not known says so', () => {
  const repositories = [
    { uri, suite: 'stable', file, signers, notKnown: [] },
    { uri, suite: 'testing', file: null, signers: [], notKnown: ['one thing', 'another'] },
  ];
  const packages = [{ places: [place('stable'), place('stable', 'contrib')] }, { places: [place('other')] }];
  const release = { origin: 'A', suite: 'stable', codename: null, date: file.date, valid_until: null };
  assert.equal(repositoryMaterials({ repositories, notKnown: 'more of them' }, packages), [
    {
      ...{ name: `repository ${uri} stable`, uri: file.url, digest: { sha256: file.sha256 } },
      annotations: { repository: { uri, suite: 'stable' }, release, signers, packages: 1 },
    },
    {
      ...{ name: `repository ${uri} testing`, uri },
      annotations: {
        ...{ repository: { uri, suite: 'testing' }, signers: [], packages: 0 },
        not_known: 'one thing; another',
      },
    },
    { name: 'repositories', uri: 'urn:imagebuilder:repositories', annotations: { not_known: 'more of them' } },
  ]);
  assert.equal(repositoryMaterials(null, packages), []);
});

test.run();
