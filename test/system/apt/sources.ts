import { extname } from 'node:path';
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ImageFacts, readImageFacts } from '#lib/apt/facts.ts';
import { addSources, renderSources } from '#lib/apt/sources.ts';
import { compareVersions } from '#lib/apt/version.ts';
import { exec } from '#lib/exec.ts';
import { failure } from '../../failure.ts';
import { type AptHouse, quiet } from './house.ts';

/** The sources that are added to an image, and versions, as a real apt and dpkg take them. */
export function sourcesAreRead(test: Test<AptHouse>): void {
  test('two PPAs whose files would have the same name are refused instead of one replacing the other', async (house) => {
    const source = await house.resolve('sound');
    await house.setSource(null);
    const session = house.chroot.session();
    const facts = await readImageFacts(session);
    const one = { ...source, ppa: { owner: 'a-ubuntu-b', name: 'c' }, url: 'http://example.com/1' };
    const two = { ...source, ppa: { owner: 'a', name: 'b-ubuntu-c' }, url: 'http://example.com/2' };
    assert.is((await failure(addSources(session, facts, [one, two], 'noble'))).code, 'apt.repository');
  });

  test('versions compare as dpkg compares them', async () => {
    const parts = '1 1.0 1.0~rc1 1.0+b 1.0-1 1.0-1ubuntu1 1:0.9 0:1.0 1.10 1.09 1.0a 1~'.split(' ');
    const script =
      'while read -r a b; do for o in lt eq gt; do dpkg --compare-versions "$a" $o "$b" && echo $o; done; done; true';
    const pairs = parts.flatMap((left) => parts.map((right) => [left, right] as const));
    const { stdout } = await exec('sh', ['-c', script], { input: pairs.map((pair) => `${pair.join(' ')}\n`).join('') });
    const ours = pairs.map(([left, right]) => ['lt', 'eq', 'gt'][Math.sign(compareVersions(left, right)) + 1]);
    assert.equal(stdout.trim().split('\n'), ours);
  });

  test('the sources of every generation are read and verified by a real apt as they are meant', async (house) => {
    const source = await house.resolve('c++');
    for (const [aptVersion, forms] of [
      ['1.0.1', ['.gpg', '.list']],
      ['1.6', ['.gpg', '.list']],
      ['2.4', ['.sources']],
    ] as const) {
      await house.setSource(null);
      await using opened = await house.open('the image’s apt');
      const { apt, session, facts } = opened;
      const old: ImageFacts = { ...facts, aptVersion };
      assert.equal(
        renderSources(source, old, house.series).map(({ path }) => extname(path)),
        forms,
      );
      await addSources(session, old, [source], house.series);
      await apt.updateLists({ ...quiet, sources: [source] });
      assert.match((await failure(apt.installPackages(['hello-extra=0'], quiet))).message, 'there is no version 0');
    }
  });
}
