import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { embeddedScripts, shellOf } from '../../runner/scripts.ts';

test('a script is for the shell of its first line, a POSIX one without it', () => {
  assert.is(shellOf('.ci/run', '#!/bin/bash\nset -e\n'), 'bash');
  assert.is(shellOf('bin/imagebuilder', '#!/bin/sh\nexec node\n'), 'dash');
  assert.is(shellOf('lib/guest/scripts/seal.sh', 'set -eu\n'), 'dash');
  assert.is(shellOf('bin/other', '#!/usr/bin/node\n'), null);
  assert.is(shellOf('lib/exec.ts', 'export {};\n'), null);
});

test('the shell scripts of a TypeScript file are found as the shell gets them', () => {
  const source = [
    'const other = ~echo',
    '~;',
    'export const joinScript = ~',
    'room=\\@1',
    'exec @{descriptor}<&- # \\\\ \\~',
    '~;',
    'const oneLineScript = ~echo~;',
  ];
  const typescript = source.join('\n').replaceAll('~', '`').replaceAll('@', '$');
  assert.equal(embeddedScripts(typescript), [{ name: 'joinScript', text: '\nroom=$1\nexec 0<&- # \\ `\n' }]);
});

test.run();
