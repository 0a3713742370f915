import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { replayProgress } from '#lib/kinds/cd/replay.ts';

test('the progress of writing a medium is read off the lines of xorriso', () => {
  const fractions: number[] = [];
  const onLine = replayProgress((fraction) => fractions.push(fraction));
  for (const line of [
    'xorriso : UPDATE :      18 nodes read in 1 seconds',
    'xorriso : UPDATE : Writing:      10112s    5.1%   fifo  13%',
    'xorriso : UPDATE : Writing:     181504s   50%   fifo 100%  203.5xD ',
    `xorriso : UPDATE : Writing:${' '.repeat(100_000)}5%`,
    'ISO image produced: 2869 sectors',
  ]) {
    onLine(line);
  }
  assert.equal(fractions, [5.1 / 100, 0.5]);
});

test.run();
