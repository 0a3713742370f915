import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildSteps } from '#lib/api/event.ts';
import { steps } from '../../../functions/status/page/steps.js';

/** The steps that the live page shows. */

test('the page has all steps of a build, in their order', () => {
  assert.equal(steps, [...buildSteps]);
});

test.run();
