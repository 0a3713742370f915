import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { repositoryFiles } from '../../../packaging/repository-files.ts';

/** The files of the repository that packages get. */

async function withFiles(paths: readonly string[], look: (root: string) => Promise<void>): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'imagebuilder-repository-'));
  try {
    for (const path of paths) {
      await mkdir(join(root, dirname(path)), { recursive: true });
      await writeFile(join(root, path), '');
    }
    await look(root);
  } finally {
    await rm(root, { recursive: true });
  }
}

const git = (root: string, ...words: string[]) => exec('git', ['-C', root, ...words]);

test('files that git does not know stay out of packages, ignored or not; files that are only added come along', async () => {
  const paths = [
    'lib/b.ts',
    'lib/a.ts',
    'lib/.a.ts.swp',
    'lib/clouds.yaml',
    'lib/deleted.ts',
    'other/c.ts',
    'stack.yml',
  ];
  await withFiles([...paths, '.gitignore'], async (root) => {
    await writeFile(join(root, '.gitignore'), 'clouds.yaml\n');
    await git(root, 'init', '--quiet');
    await git(root, 'add', 'lib/a.ts', 'lib/b.ts', 'lib/deleted.ts', 'other', 'stack.yml');
    await rm(join(root, 'lib/deleted.ts'));
    assert.equal(await repositoryFiles(root, ['lib', 'stack.yml']), ['lib/a.ts', 'lib/b.ts', 'stack.yml']);
  });
});

test('without a repository, as in an unpacked archive, every file comes along but npm packages', async () => {
  await withFiles(['lib/b.ts', 'lib/a.ts', 'lib/node_modules/x/index.js'], async (root) => {
    assert.equal(await repositoryFiles(root, ['lib']), ['lib/a.ts', 'lib/b.ts']);
  });
});

test('a part that is missing is an error that names it', async () => {
  await withFiles(['lib/a.ts'], async (root) => {
    let message = '';
    await repositoryFiles(root, ['lib', 'functions']).catch((error: Error) => {
      message = error.message;
    });
    assert.match(message, 'functions');
  });
});

test.run();
