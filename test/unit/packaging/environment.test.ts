import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { allSettings, loadConfig } from '#lib/config/load.ts';
import { secretFiles } from '#lib/config/secrets.ts';
import { environmentFile } from '../../../packaging/environment.ts';

/** The file of settings that an installation begins with. */

const text = environmentFile();
const assignments = [...text.matchAll(/^#([A-Z_]+)=(.*)$/gm)].map(
  ([, name = '', value = '']) => [name, value] as const,
);

test('the file sets nothing by itself, and each of its lines is a comment that fits a terminal', () => {
  for (const line of text.split('\n')) assert.match(line, /^(#.*)?$/);
  const prose = text.split('\n').filter((line) => line.startsWith('# '));
  assert.equal(
    prose.filter((line) => line.length > 100),
    [],
  );
});

test('the file has every setting once, but those that `imagebuilder serve` sets itself', () => {
  const ofServe = ['IMAGEBUILDER_GATEWAY_URL', 'IMAGEBUILDER_WAKE_SOCKET', 'IMAGEBUILDER_WAKE_ANSWER'];
  const settings = allSettings.map(({ variable }) => variable).filter((name) => !ofServe.includes(name));
  assert.equal(
    assignments.map(([name]) => name).toSorted(),
    ['IMAGEBUILDER_LISTEN', 'IMAGEBUILDER_ALLOWED_HOSTS', ...settings].toSorted(),
  );
});

test('with every default set as it stands there, the configuration is the same', () => {
  const json = (environment: Record<string, string>) => JSON.stringify(loadConfig(environment));
  const known = assignments.filter(([name]) => !['IMAGEBUILDER_LISTEN', 'IMAGEBUILDER_ALLOWED_HOSTS'].includes(name));
  assert.is(json(Object.fromEntries(known)), json({}));
});

test('the file names every secret', () => {
  for (const { file } of Object.values(secretFiles)) assert.match(text, new RegExp(`\\b${file}\\b`));
});

test.run();
