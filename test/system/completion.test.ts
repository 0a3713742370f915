import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';

/** Completion in shells that run in a terminal: Tab is typed, and the words that the command then gets are looked at. */

const command = join(import.meta.dirname, '../../bin/imagebuilder.ts');
let directory: string;

test.before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'imagebuilder-completion-'));
  const program = join(directory, 'imagebuilder');
  await writeFile(program, '#!/bin/sh\nprintf "GOT"; printf " <%s>" "$@"; echo\n');
  await chmod(program, 0o755);
  await mkdir(join(directory, 'a folder'));
  await writeFile(join(directory, 'request one.json'), '');
  for (const shell of ['bash', 'zsh']) {
    const { stdout } = await exec(process.execPath, [command, 'completion', shell]);
    await writeFile(join(directory, `completion.${shell}`), stdout);
  }
  const path = `PATH=${directory}:$PATH\ncd ${directory}\n`;
  await writeFile(join(directory, 'bashrc'), `${path}bind 'set bell-style none'\nsource completion.bash\n`);
  await writeFile(
    join(directory, '.zshrc'),
    `${path}autoload -U -z compinit\ncompinit -u -D\nunsetopt beep list_ambiguous\nsource completion.zsh\n`,
  );
});
test.after(() => rm(directory, { recursive: true }));

const shells = {
  bash: ['bash', '--noprofile', '--rcfile', 'bashrc', '-i'],
  zsh: ['zsh', '-d', '-i'],
} as const;

/** Words that the command gets after each of these lines, in which a tab completes. */
async function type(shell: keyof typeof shells, lines: readonly string[]): Promise<string[]> {
  const { stdout } = await exec('script', ['--quiet', '--return', '--command', shells[shell].join(' '), '/dev/null'], {
    cwd: directory,
    env: { ZDOTDIR: directory, HOME: directory, TERM: 'dumb', PATH: '/usr/bin:/bin' },
    input: [...lines, 'exit', ''].join('\n'),
    timeoutMs: 60_000,
  });
  return [...stdout.matchAll(/^GOT (.*?)\r?$/gm)].map(([, words = '']) => words);
}

/**
 * Keys that are typed after the name of the command, > for a tab, and the words that the command gets, in zsh too where
 * they differ.
 */
const cases: readonly (readonly [typed: readonly string[], words: string, zsh?: string])[] = [
  [['bui>'], '<build>'],
  [['sto>ch>--js>'], '<store> <check> <--json>'],
  [['build', '--unt>up>hello'], '<build> <--until> <upload> <hello>', '<build> <--until=upload> <hello>'],
  [['build', '--until=rep>'], '<build> <--until=repack>'],
  [['build', '--output-f>q>'], '<build> <--output-format> <qcow2>', '<build> <--output-format=qcow2>'],
  [['build', '--request', 'req>'], '<build> <--request> <request one.json>'],
  [['build', '--keep', 'a>'], '<build> <--keep> <a folder/>', '<build> <--keep> <a folder>'],
  // The value of an option is no command, and a package no option.
  [['build', '--series', 'status', '--no-f>'], '<build> <--series> <status> <--no-follow>'],
  [['build', 'hello', 'world', '--cancel-on>'], '<build> <hello> <world> <--cancel-on-interrupt>'],
  [
    ['watch', '--token>request>'],
    '<watch> <--token-file> <request one.json>',
    '<watch> <--token-file=request one.json>',
  ],
  [['completion', 'z>'], '<completion> <zsh>'],
  [['help', 'doc>'], '<help> <doctor>'],
];

for (const shell of ['bash', 'zsh'] as const) {
  test(`${shell} completes commands, options, values and files`, async () => {
    const typed = cases.map(([words]) => ['imagebuilder', ...words].join(' ').replaceAll('>', '\t'));
    assert.equal(
      await type(shell, typed),
      cases.map(([, words, inZsh = words]) => (shell === 'zsh' ? inZsh : words)),
    );
  });
}

test('the scripts have no fault that a linter finds, and the manual page none that mandoc and man find', async () => {
  await exec('shellcheck', ['--shell=bash', join(directory, 'completion.bash')]);
  await exec('zsh', ['-n', join(directory, 'completion.zsh')]);
  const { stdout } = await exec(process.execPath, [command, 'man']);
  const page = join(directory, 'imagebuilder.1');
  await writeFile(page, stdout);
  await exec('mandoc', ['-T', 'lint', '-W', 'warning', page]);
  const shown = await exec('man', ['--warnings', '--local-file', page], {
    env: { MANWIDTH: '80', MAN_KEEP_FORMATTING: '' },
  });
  assert.is(shown.stderr, '');
  assert.match(shown.stdout, /^ +--until step$/m);
});

test.run();
