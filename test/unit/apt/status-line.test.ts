import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseStatusLine } from '#lib/apt/status-line.ts';

test('downloads, packages and failures are distinguished, package names may hold an architecture', () => {
  assert.equal(parseStatusLine('dlstatus:1:20.3333:Retrieving file 1 of 5'), {
    kind: 'download',
    name: '1',
    percent: 20.3333,
    message: 'Retrieving file 1 of 5',
  });
  assert.equal(parseStatusLine('pmstatus:libc6:amd64:40:Unpacking libc6:amd64 (amd64)'), {
    kind: 'package',
    name: 'libc6:amd64',
    percent: 40,
    message: 'Unpacking libc6:amd64 (amd64)',
  });
  assert.equal(parseStatusLine('pmerror: fails:66.6667:installed post-installation script: exit status 7 '), {
    kind: 'failure',
    name: 'fails',
    percent: 66.6667,
    message: 'installed post-installation script: exit status 7',
  });
});

test('other lines are of no interest', () => {
  for (const line of ['', 'exit:0', 'pmconffile:/etc/x:10:text', 'media-change: disk', 'pmstatus:foo']) {
    assert.is(parseStatusLine(line), null, line);
  }
});

test.run();
