import { chmod, lstat, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { openQemuTools } from '#lib/image/qemu-img.ts';
import { makeDisk } from '../unit/image/make-disk.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';
import { eventually } from './serve/command.ts';
import { assertUnprivileged, unprivilegedIds } from './unprivileged.ts';

/** The image tools of a worker that is root: what a stranger's image that takes them over can do there. */

type Folder = Awaited<ReturnType<typeof temporaryFolder>>;
const context: { folder: Folder | null; base: string } = { folder: null, base: '' };
const test = suite('image tools', context);

test.before(async (shared) => {
  const folder = await temporaryFolder();
  shared.folder = folder;
  shared.base = folder.file('base');
  await mkdir(folder.file('work'));
  await makeDisk(folder.file('disk.raw'), 64 * 2 ** 20, folder.file('work'));
  await exec('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', folder.file('disk.raw'), shared.base]);
  // As the cache has it.
  await chmod(shared.base, 0o444);
});

test.after(async (shared) => {
  await shared.folder?.[Symbol.asyncDispose]();
});

test('a tool is a user without rights, another one for each use, in a folder that is closed to it', async ({
  folder,
}) => {
  assert.is(((await stat(folder?.path ?? '')).mode ?? 0) & 0o777, 0o700);
  const first = await userOfTool(folder?.file('disk.raw') ?? '');
  assert.is.not(await userOfTool(folder?.file('disk.raw') ?? ''), first);
});

async function userOfTool(path: string): Promise<number> {
  await using tools = await openQemuTools({ disk: { path, writable: false } }, unprivilegedIds);
  const stop = new AbortController();
  const limits = { cpuSeconds: 60, fileSizeBytes: 2 ** 30 };
  const command = `sleep ${process.pid}000`;
  const args = ['-r', '-f', 'raw', '-c', command, tools.names.disk];
  const ended = tools.run('qemu-io', args, { limits, signal: stop.signal }).catch(() => {});
  try {
    const id = await eventually('qemu-io runs', async () => {
      for (const name of await readdir('/proc')) {
        const line = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '');
        if (line.startsWith('qemu-io\0') && line.includes(command)) return Number(name);
      }
      return undefined;
    });
    return await assertUnprivileged(id);
  } finally {
    stop.abort();
    await ended;
  }
}

/** Tries it all with the files of the build, and then does the tool's work, or writes noise in its place. */
const standIn = `#!/bin/sh
report="$REPORTS/$$"
{
  echo "user $(id -u)"
  cat "$WORK/canary" "$WORK/other-build/overlay"
  echo overwritten >"$WORK/canary"
  for descriptor in /proc/self/fd/*; do
    [ "$(readlink "$descriptor")" = "$WORK/base" ] && echo overwritten >"$descriptor"
  done
  for name in overlay output output.partial; do ln -sf "$WORK/canary" "$WORK/build/$name"; done
  chmod 4777 "$WORK/build/output.partial" $(readlink -f /proc/self/fd/3)
  setsid sleep 600 </dev/null >/dev/null 2>&1 &
} >"$report" 2>&1
case "$NOISE $*" in
  'yes convert '*)
    for last in "$@"; do :; done
    head -c 1000000 /dev/urandom >"$last"
    exit 0;;
esac
exec /usr/bin/qemu-img "$@"
`;

/** Makes an overlay, changes it, packs and checks it; a `qemu-img` before the real one is what QEMU's would have become. */
const worker = `
const { createOverlay } = await import(LIB + '/image/overlay.ts');
const { inspectImage } = await import(LIB + '/image/inspect.ts');
const { repack } = await import(LIB + '/image/repack.ts');
const { verifyImage } = await import(LIB + '/image/verify.ts');
const { exec } = await import(LIB + '/exec.ts');
const { loadConfig } = await import(LIB + '/config/load.ts');
const { unprivilegedIds } = loadConfig({}).tools;
const { signal } = new AbortController();
const maximumVirtualBytes = 2 ** 30;
const base = await inspectImage(WORK + '/base', { maximumVirtualBytes, signal });
const common = { base, basePath: WORK + '/base', overlayPath: WORK + '/build/overlay', unprivilegedIds, signal };
try {
  await createOverlay(common);
  await exec('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 30M 1M', common.overlayPath]);
  const outputPath = WORK + '/build/output';
  const packed = await repack({ ...common, outputPath, outputFormat: 'qcow2', compression: 'zlib', onProgress: () => {} });
  await verifyImage(outputPath, { format: 'qcow2', base, maximumVirtualBytes, unprivilegedIds, signal });
  console.log('built by ' + packed.method);
} catch (error) {
  console.log(error.code + ': ' + error.message);
}`;

// Noise is found before the tool that checks is started.
for (const [what, noise, uses, end] of [
  ['and works on', 'no', 2, /^built by convert\n$/],
  ['and writes noise', 'yes', 1, /^image\.output: the finished image failed its check: /],
] as const) {
  test(`a tool that is taken over, ${what}, reaches nothing but the output of its build`, async ({ base }) => {
    await using folder = await temporaryFolder();
    const path = (name: string) => folder.file(name);
    for (const name of ['bin', 'reports', 'build', 'other-build']) await mkdir(path(name));
    // Anybody may come this far: what is closed has to be closed by itself.
    for (const name of ['.', 'build', 'other-build']) await chmod(path(name), 0o755);
    await chmod(path('reports'), 0o777);
    await writeFile(path('canary'), 'root’s alone', { mode: 0o600 });
    await writeFile(path('other-build/overlay'), 'another build’s', { mode: 0o600 });
    await exec('cp', ['--preserve=mode', base, path('base')]);
    const environment = `REPORTS=${path('reports')} WORK=${path('.')} NOISE=${noise}`;
    await writeFile(path('bin/qemu-img'), standIn.replace('\n', `\n${environment.replaceAll(' ', '\n')}\n`), {
      mode: 0o755,
    });
    const lib = join(import.meta.dirname, '../../lib');
    const script = `const [LIB, WORK] = ${JSON.stringify([lib, folder.path])};${worker}`;
    // In a mount namespace of its own the folder that programs are looked for in first is the stand-in's.
    const inside = 'mount --bind "$1" /usr/local/sbin && exec "$2" --input-type=module --eval "$3"';
    const { stdout } = await exec('unshare', [
      ...['--mount', '--', 'sh', '-c', inside, 'sh', path('bin'), process.execPath, script],
    ]);
    assert.match(stdout, end);

    const reports = await Promise.all(
      (await readdir(path('reports'))).map((name) => readFile(join(path('reports'), name), 'utf8')),
    );
    assert.ok(reports.length >= uses, String(reports.length));
    const users = new Set<number>();
    for (const report of reports) {
      assert.not.match(report, /root’s alone|another build’s/);
      users.add(Number(/^user ([0-9]+)$/m.exec(report)?.[1]));
    }
    assert.ok(users.size >= uses, 'the packing and the check have users of their own');
    for (const id of users) assert.ok(id >= unprivilegedIds.first && id <= unprivilegedIds.last, String(id));
    assert.is(await readFile(path('canary'), 'utf8'), 'root’s alone');
    await exec('cmp', [base, path('base')]);
    for (const name of await readdir(path('build'))) {
      const found = await lstat(join(path('build'), name));
      assert.ok(found.isFile(), name);
      assert.equal([found.uid, found.gid, found.mode & 0o7111], [0, 0, 0], name);
    }
    await eventually('every process of these users ends', async () => {
      const { stdout: processes } = await exec('ps', ['-eo', 'uid=,stat=']);
      const lines = processes.trim().split('\n');
      return lines.every((line) => line.includes('Z') || !users.has(Number.parseInt(line, 10)));
    });
  });
}

test.run();
