import { once } from 'node:events';
import { mkdir, open, readdir, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { ExecError, exec } from '#lib/exec.ts';
import { chooseGuest } from '#lib/guest/choose.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { beforeChange, sealImage } from '#lib/guest/seal.ts';
import { probeVm } from '#lib/guest/vm/probe.ts';
import { makeTestImage, programForArm } from './guest-image.ts';
import { assertCode, failure, log, openVmTests, output } from './guest-vm-disk.ts';

const vm = await openVmTests('guest-vm');
const { directory, settings, withDisk, withImage } = vm;
const plainImage = await makeTestImage(directory, 'plain');

test('a vm is found usable without privileges, and chosen where images cannot be mounted', async () => {
  const config = loadConfig({});
  const found = await probeVm(settings);
  assert.ok(found.usable, JSON.stringify(found));
  const chosen = await chooseGuest({
    setting: 'auto',
    directory: join(directory, 'probe'),
    vm: settings,
    host: { ...config.guest, ...config.tools },
    log,
  });
  assert.is(chosen.guest.kind, 'vm');
  assert.match(chosen.reason, /KVM|slow/);
  const host = chooseGuest({
    setting: 'host',
    directory: join(directory, 'probe'),
    vm: settings,
    host: { ...config.guest, ...config.tools },
    log,
  });
  assertCode(await failure(host), 'guest.unavailable', /needs root/);
});

test('changes to every partition of the fstab are in the overlay after close, and the base is as it was', async () => {
  const { stdout: baseBefore } = await exec('sha256sum', [plainImage.path]);
  await withDisk(plainImage, async (disk) => {
    const notices: string[] = [];
    {
      await using session = await disk.open({ onNotice: (message) => notices.push(message) });
      assert.is(session.kind, 'vm');
      assert.equal(session.mounted, ['/', '/boot', '/boot/efi']);
      assert.equal(session.notMounted, ['/data']);
      assert.equal(notices, [], 'nofail means that nobody need be told');
      assert.is(await output(session, 'cat /boot/vmlinuz; hostname'), 'a kernellocalhost');
      await session.run({
        name: 'change',
        text: 'echo new >/boot/new; echo more >/etc/more; echo esp >"/boot/efi/Long Name.txt"; dd if=/dev/zero of=/big bs=1M count=8 2>&1',
      });
      await session.run({ name: 'fill', text: 'dd if=/dev/urandom of=/gone bs=1M count=12 2>&1; sync; rm /gone' });
      await session.close();
    }
    const { stdout } = await exec('qemu-img', ['map', '--output=json', '-f', 'qcow2', disk.overlayPath]);
    const extents = JSON.parse(stdout) as { depth: number; data: boolean; length: number }[];
    const changed = extents.filter((extent) => extent.depth === 0 && extent.data);
    const bytes = changed.reduce((sum, extent) => sum + extent.length, 0);
    assert.ok(bytes < 12 * 1024 * 1024, `what was freed inside is still there: ${bytes} bytes`);

    await using again = await disk.open();
    const look =
      'cat /boot/new /etc/more "/boot/efi/Long Name.txt"; wc -c </big; ls /tmp /run; cat /usr/sbin/policy-rc.d';
    assert.is(
      await output(again, `${look} | head -n 1`),
      'new\nmore\nesp\n8388608\n/run:\nimagebuilder\nimagebuilder-borrowed\nlock\nshm\n\n/tmp:\n#!/bin/sh',
    );
  });
  assert.is((await exec('sha256sum', [plainImage.path])).stdout, baseBefore);
});

test('a script gets arguments, files, a folder, environment and descriptor 3, and nothing of the worker', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const folder = join(disk.workDirectory, '..', 'folder');
    await mkdir(join(folder, 'below'), { recursive: true });
    await writeFile(join(folder, 'below', 'hidden'), '');
    const longName = `${'n'.repeat(180)}_1%3a2~b+c_amd64.deb`;
    await writeFile(join(folder, longName), 'a package');
    const large = await open(join(folder, 'large'), 'w');
    await large.truncate(200 * 1024 * 1024);
    await large.write('end', 200 * 1024 * 1024 - 3);
    await large.close();

    const lines: string[] = [];
    const statusLines: string[] = [];
    process.env.WORKER_SECRET = 'leak';
    const { stdout, stderr } = await session.run({
      name: 'all',
      text: 'echo "$2|$1|$OWN|$(cat "$JOB/sub/file")|$(cat)|$(umask)|$(ulimit -c)"; env | grep WORKER; echo oops >&2; echo "pmstatus:x:10" >&3',
      arguments: ["it's", 'two words\nand "$(a line)"'],
      files: { 'sub/file': 'content' },
      env: { OWN: "o'wn" },
      onLine: (line, stream) => lines.push(`${stream} ${line}`),
      onStatusLine: (line) => statusLines.push(line),
    });
    assert.is(stdout, `two words\nand "$(a line)"|it's|o'wn|content||0022|0\n`);
    assert.is(stderr, 'oops\n');
    assert.equal(lines.sort(), ['stderr oops', `stdout and "$(a line)"|it's|o'wn|content||0022|0`, 'stdout two words']);
    assert.equal(statusLines, ['pmstatus:x:10']);

    const look = 'cd "$JOB/folder"; ls; cat n*; tail -c 3 large; touch mine 2>/dev/null || stat -c :%a:%u *';
    assert.is(await output(session, look, { folder }), `large\n${longName}\na packageend:444:0\n:444:0`);
    assert.is(await output(session, 'ls "$JOB"'), 'script', 'what an earlier script had is gone');
    const { blocks } = await stat(join(disk.workDirectory, 'guest', 'payload.raw'));
    assert.ok(blocks * 512 < 1024 * 1024, 'the payload takes no room when no script runs');

    const error = await failure(session.run({ name: 'install', text: 'echo working; echo broken >&2; exit 7' }));
    assert.instance(error, ExecError);
    assert.is((error as ExecError).exitCode, 7);
    assert.is((error as ExecError).message, 'the script install inside the image failed with exit code 7: broken');

    // Not what the time was when the script was asked for, nor when it was heard of: either may be long ago.
    const before = Math.floor(Date.now() / 1000);
    const time = Number(await output(session, 'date +%s'));
    const skew = Math.max(before - time, time - Date.now() / 1000);
    assert.ok(skew < 30, `the clock is ${skew} seconds off`);
    assert.is(
      await output(session, 'ls /sys/class/net; (: >/proc/sys/vm/drop_caches) 2>/dev/null || echo no'),
      'lo\nno',
    );
    assert.not(session.network);
    // They start while scripts run.
    const wait = `until [ "$(nproc)" = ${settings.vmCpus} ]; do sleep 0.1; done`;
    await session.run({ name: 'processors', text: wait, timeoutMs: 60_000 });
    const binary = await session.run({ name: 'binary', text: 'head -c 300000 /dev/urandom; printf "a\\0b"' });
    assert.ok(binary.stdout.endsWith('a\0b'));
    let count = 0;
    await session.run({ name: 'many', text: 'seq 200000', onLine: () => (count += 1) });
    assert.is(count, 200_000);
    await session.run({
      name: 'leave',
      text: 'cd /boot; setsid sleep 600 & (sleep 601 & ); trap "" TERM; sleep 602 & :',
    });
    assert.is(await output(session, 'ps -o comm,stat | grep -c "sleep 6\\|^sleep.*Z" || :'), '0');
    await session.close();
  });
});

test('folders of the worker are empty ones inside, and what is written there is not in the image', async () => {
  const cache = join(directory, 'apt');
  await mkdir(join(cache, 'archives', 'partial'), { recursive: true });
  await writeFile(join(cache, 'pkgcache.bin'), 'of the worker');
  await withDisk(plainImage, async (disk) => {
    {
      await using session = await disk.open({ binds: [{ source: cache, target: '/var/cache' }] });
      assert.is(
        await output(session, 'cd /var/cache; find . | sort; echo new >new'),
        '.\n./archives\n./archives/partial',
      );
      await session.close();
    }
    await using again = await disk.open();
    assert.is(await output(again, 'ls /var/cache'), '');
  });
  assert.equal(await readdir(cache), ['archives', 'pkgcache.bin']);
});

test('with a network, scripts reach the worker’s proxy and nothing else', async () => {
  const asked: string[] = [];
  const proxy = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers['proxy-authorization']}`);
    response.end('from the proxy');
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  await using _closing = { [Symbol.asyncDispose]: async () => void proxy.close() };
  const port = (proxy.address() as AddressInfo).port;
  await withDisk(plainImage, async (disk) => {
    const proxy = { url: `http://user:password@127.0.0.1:${port}`, serve: () => {} };
    await using session = await disk.open({ proxy }, { vmNetwork: true });
    assert.ok(session.network);
    assert.is(session.proxyUrl, 'http://user:password@10.0.2.100:3128');
    assert.is(await output(session, 'wget -q -O - http://archive.example/file'), 'from the proxy');
    assert.equal(asked, [`http://archive.example/file Basic ${btoa('user:password')}`]);
    const direct = `unset http_proxy; wget -T 5 -q -O - http://10.0.2.2:${port}/ || echo no; nc -w 5 10.0.2.3 53 </dev/null || echo no`;
    assert.is(await output(session, direct), 'no\nno');
    assert.is(asked.length, 1);
  });
});

test('an image is sealed as on a host', async () => {
  await withImage({ files: { '/etc/machine-id': '', '/var/log/old.log': 'line one\n' } }, async (disk) => {
    await using session = await disk.open();
    const pristine = await beforeChange(session);
    await session.run({
      name: 'change',
      text: 'echo 0123456789abcdef0123456789abcdef >/etc/machine-id; echo two >>/var/log/old.log; echo x >/root/.bash_history',
    });
    await sealImage(session, pristine);
    assert.is(await output(session, 'cat /etc/machine-id /var/log/old.log; ls -A /root'), 'line one');
    await session.close();
  });
});

test('cancelling ends the script and the vm, within seconds', async () => {
  await withDisk(plainImage, async (disk) => {
    const cancel = new AbortController();
    await using session = await disk.open({ signal: cancel.signal });
    const reason = new Error('no longer wanted');
    const text = 'trap "" TERM; setsid sleep 600 & echo started >&3; sleep 600';
    const started = session.run({ name: 'long', text, onStatusLine: () => cancel.abort(reason) });
    assert.is(await failure(started), reason);
    assert.is(await failure(session.run({ name: 'more', text: 'true' })), reason);
  });
});

test('cancelling while the image is being opened leaves nothing', async () => {
  await withDisk(plainImage, async (disk) => {
    for (const delayMs of [0, 100, 1000, 3000]) {
      const signal = AbortSignal.timeout(delayMs);
      const opened = await disk.open({ signal }).catch((error: unknown) => error);
      if (opened instanceof Error) assert.is(opened, signal.reason);
      else await (opened as GuestSession)[Symbol.asyncDispose]();
    }
  });
});

test('a script that runs out of time is ended, and its error has its output', async () => {
  await withDisk(plainImage, async (disk) => {
    await using session = await disk.open();
    const error = await failure(session.run({ name: 'slow', text: 'echo so far; sleep 600', timeoutMs: 3000 }));
    assert.instance(error, ExecError);
    assert.is((error as ExecError).message, 'the script slow inside the image ran out of time: so far');
  });
});

test('a root file system that cannot be mounted is refused as damaged', async () => {
  await withDisk(plainImage, async (disk) => {
    const place = plainImage.partitions[0]?.offsetBytes ?? 0;
    await exec('qemu-io', ['-f', 'qcow2', '-c', `write -P 0 ${place + 4096} 512k`, disk.overlayPath]);
    assertCode(await failure(disk.open()), 'image.corrupt', /ext4 file system of partition 1 cannot be mounted/);
  });
});

test('a root file system that turns out damaged while it is changed fails the build as that', async () => {
  await withDisk(plainImage, async (disk) => {
    // The blocks of /etc, whose entries then make no sense.
    const place = plainImage.partitions[0]?.offsetBytes ?? 0;
    const raw = join(disk.workDirectory, '..', 'root.raw');
    const cut = `driver=raw,offset=${place},file.driver=qcow2,file.file.driver=file,file.file.filename=${plainImage.path}`;
    await exec('qemu-img', ['convert', '-O', 'raw', '--image-opts', cut, raw]);
    const { stdout } = await exec('debugfs', ['-R', 'blocks /var/log', raw]);
    const { stdout: header } = await exec('dumpe2fs', ['-h', raw]);
    const blockBytes = Number(/^Block size:\s*([0-9]+)$/m.exec(header)?.[1]);
    const block = Number(stdout.trim().split(/\s+/)[0]);
    await exec('qemu-io', ['-f', 'qcow2', '-c', `write -P 0xff ${place + block * blockBytes} 512`, disk.overlayPath]);
    await using session = await disk.open();
    await failure(session.run({ name: 'look', text: 'ls /var/log; touch /var/log/new' }));
    assertCode(await failure(session.close()), 'image.corrupt', /reported errors/);
  });
});

for (const [what, options, message] of [
  ['/run is a link', { links: { '/run': '/tmp' } }, /\/run in the image is no folder/],
  ['its programs are for another processor', { files: { '/usr/bin/dpkg': programForArm } }, /programs are for armhf$/],
  ['/etc/fstab is a link', { links: { '/etc/fstab': '/etc/passwd' } }, /\/etc\/fstab/],
] as const) {
  test(`an image is refused where ${what}`, async () => {
    await withImage(options, async (disk) => {
      assertCode(await failure(disk.open()), 'image.unsupported', message);
    });
  });
}

test.after(vm.remove);

test.run();
