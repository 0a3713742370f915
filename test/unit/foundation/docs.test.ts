import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { generateDocs } from '../../../scripts/generate-docs.ts';

test('the generated tables in README.md and docs/errors.md are those of the code (npm run docs)', async () => {
  for (const [path, { before, after }] of await generateDocs()) assert.is(before, after, path);
});

test.run();
