import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { countProgram, countTests, skippedExitCode, summaryLine } from '../../runner/summary.ts';

const summary = (total: number, passed: number, skipped: number) =>
  `• •   (${passed} / ${total})\n\n  Total:     ${total}\n  Passed:    ${passed}\n  Skipped:   ${skipped}\n  Duration:  4.20ms\n`;

test('passed, failed and skipped tests are counted', () => {
  assert.equal(countTests({ output: summary(5, 3, 2), exitCode: 1 }), { passed: 3, failed: 2, skipped: 2 });
  assert.equal(countTests({ output: summary(5, 5, 0), exitCode: 0 }), { passed: 5, failed: 0, skipped: 0 });
});

test('a file that ends well without a summary has failed', () => {
  assert.equal(countTests({ output: '', exitCode: 0 }), { passed: 0, failed: 1, skipped: 0 });
});

test('a file that was killed before its summary has failed', () => {
  assert.equal(countTests({ output: '• • ', exitCode: null }), { passed: 0, failed: 1, skipped: 0 });
});

test('a file without a single test has failed', () => {
  assert.equal(countTests({ output: summary(0, 0, 0), exitCode: 0 }), { passed: 0, failed: 1, skipped: 0 });
});

test('a file that breaks after its tests passed has one failure', () => {
  assert.equal(countTests({ output: summary(4, 4, 0), exitCode: 1 }), { passed: 4, failed: 1, skipped: 0 });
});

test('tests that never ran because a hook threw have failed although uvu exits with 0', async () => {
  const code = `
    import { test } from 'uvu';
    test.before(() => { throw new Error('no'); });
    test('one', () => {});
    test('two', () => {});
    test.run();
  `;
  const result = await exec(process.execPath, ['--input-type=module', '--eval', code], { env: { NO_COLOR: '1' } });
  assert.is(result.exitCode, 0);
  assert.equal(countTests({ output: result.stdout, exitCode: 0 }), { passed: 0, failed: 2, skipped: 0 });
});

test('output of a test that looks like a summary is not the summary', () => {
  const output = `  Total:     9\n  Passed:    9\n  Skipped:   0\n${summary(2, 1, 0)}`;
  assert.equal(countTests({ output, exitCode: 1 }), { passed: 1, failed: 1, skipped: 0 });
});

test('the last line of a run names skipped tests only when there are any', () => {
  assert.is(summaryLine({ passed: 3, failed: 0, skipped: 0 }), '3 passed, 0 failed');
  assert.is(summaryLine({ passed: 3, failed: 1, skipped: 2 }), '3 passed, 1 failed, 2 skipped');
});

test('a program counts as one test, as a skipped one when it says so', () => {
  assert.equal(countProgram(0), { passed: 1, failed: 0, skipped: 0 });
  assert.equal(countProgram(1), { passed: 0, failed: 1, skipped: 0 });
  assert.equal(countProgram(null), { passed: 0, failed: 1, skipped: 0 });
  assert.equal(countProgram(skippedExitCode), { passed: 0, failed: 0, skipped: 1 });
});

test.run();
