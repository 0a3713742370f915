import { once } from 'node:events';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadConfig } from '#lib/config/load.ts';
import { exec } from '#lib/exec.ts';
import type { GuestSession } from '#lib/guest/guest.ts';
import { createHostGuest } from '#lib/guest/host/host-guest.ts';
import { inspectImage } from '#lib/image/inspect.ts';
import { createLog } from '#lib/log.ts';
import { waitForProcess } from '../../lab/fleet/processes.ts';
import { makeBaseImage } from '../../lab/images/base-image.ts';
import { baseImageCache } from '../../lab/images/cache.ts';
import { type OpenedDisk, openGuestTests } from './guest-disk.ts';
import { unprivilegedIds } from './unprivileged.ts';

/**
 * An image that is hostile from its first program on, opened by the host guest: whatever it does, the worker’s files,
 * keys, descriptors and devices stay the worker’s.
 */

const base = await makeBaseImage({ cacheDirectory: baseImageCache });
const { partitions } = await inspectImage(base.path, { maximumVirtualBytes: 2 ** 40 });
const log = createLog({ level: 'error' });
const guest = createHostGuest({ limits: loadConfig({}).guest, ids: unprivilegedIds, log });
/** As where there can be no user namespace. */
const unmapped = createHostGuest({ limits: loadConfig({}).guest, ids: unprivilegedIds, userNamespace: false, log });
const tests = await openGuestTests('walls', () => guest);
const { directory } = tests;
const canary = join(directory, 'canary');

test.before(async () => {
  await writeFile(canary, 'untouched\n', { mode: 0o600 });
});

test.after(tests.remove);

/** Runs `body` with a fresh overlay on the base image, and afterwards checks that nothing was hit. */
async function withDisk(body: (disk: OpenedDisk) => Promise<void>): Promise<void> {
  await tests.withDisk({ path: base.path, partitions }, body);
  assert.is(await readFile(canary, 'utf8'), 'untouched\n');
}

/** Prints of a script in the image. */
async function output(session: GuestSession, text: string, files: Readonly<Record<string, string>> = {}) {
  return (await session.run({ name: 'test', text, arguments: [canary], files })).stdout.trim();
}

/** In place of /bin/sh: leaves a process behind at every script, and ends nothing that is left. */
const shell = `#!/usr/bin/real-dash
[ "$1" = -c ] || exec /usr/bin/real-dash "$@"
JOB=$4
export JOB
shift 4
setsid /usr/bin/perl /watch.pl CANARY </dev/null >/dev/null 2>&1 3>&- &
/usr/bin/real-dash "$JOB/script" "$@"
`;

/** Tries the root, the folder and the program of every process that comes by, of which one may be the worker’s. */
const watch = `
my $file = shift;
my $until = time + 20;
while (time < $until) {
  opendir(my $processes, "/proc") or exit;
  for my $id (grep /^[0-9]+$/, readdir $processes) {
    for my $path ("/proc/$id/root$file", "/proc/$id/cwd$file") {
      open(my $out, "+<", $path) or next;
      print $out "reached\\n";
      exit;
    }
    my $program = readlink("/proc/$id/exe") // next;
    next if -e $program or $program =~ m{^(?:/proc/|/$)};
    open(my $in, "<", "/proc/$id/exe") or next;
    my $number = fileno($in);
    for (1..50) { open(my $log, ">>", "/program") if open(my $out, "+<", "/proc/self/fd/$number"); }
  }
}
`;

test('a process that a script leaves behind meets nothing of the worker when the next one starts', async () => {
  await withDisk(async (disk) => {
    await using session = await disk.open();
    await output(
      session,
      `cp "$JOB/watch" /watch.pl; cp /usr/bin/dash /usr/bin/real-dash
      sed "s|CANARY|$1|" "$JOB/shell" >/usr/bin/new-sh; chmod 755 /usr/bin/new-sh; mv /usr/bin/new-sh /usr/bin/dash`,
      { shell, watch },
    );
    for (let round = 0; round < 30; round += 1) assert.is(await output(session, 'ls /program 2>/dev/null || :'), '');
  });
});

/**
 * A program for x86-64 that stands in for the image’s dynamic linker: opens /proc/self/exe, which becomes descriptor 3
 * or higher, and then runs /usr/bin/real-perl /attack.pl by the true linker, /lib64/real-ld.
 */
function hostileLinker(): Buffer {
  const strings = ['/proc/self/exe', '/lib64/real-ld', '/usr/bin/perl', '/attack.pl'];
  const headerBytes = 64 + 56;
  const codeBytes = 72;
  const offsets = strings.map((_, index) => codeBytes + strings.slice(0, index).join('\0').length + Math.min(index, 1));
  const code: number[] = [];
  const lea = (opcode: readonly number[], target: number) => {
    code.push(...opcode);
    const displacement = Buffer.alloc(4);
    displacement.writeInt32LE(target - (code.length + 4));
    code.push(...displacement);
  };
  const [exe = 0, linker = 0, perl = 0, attack = 0] = offsets;
  lea([0x48, 0x8d, 0x3d], exe); // lea rdi, [exe]
  code.push(0x31, 0xf6, 0xb8, 2, 0, 0, 0, 0x0f, 0x05); // xor esi, esi; mov eax, 2 (open); syscall
  code.push(0x31, 0xc0, 0x50); // xor eax, eax; push rax
  for (const word of [attack, perl, linker]) {
    lea([0x48, 0x8d, 0x05], word); // lea rax, [word]
    code.push(0x50); // push rax
  }
  lea([0x48, 0x8d, 0x3d], linker); // lea rdi, [linker]
  code.push(0x48, 0x89, 0xe6, 0x31, 0xd2); // mov rsi, rsp; xor edx, edx
  code.push(0xb8, 59, 0, 0, 0, 0x0f, 0x05); // mov eax, 59 (execve); syscall
  assert.ok(code.length <= codeBytes, String(code.length));
  const body = Buffer.concat([
    Buffer.from(code),
    Buffer.alloc(codeBytes - code.length),
    Buffer.from(`${strings.join('\0')}\0`),
  ]);
  const size = headerBytes + body.length;
  const header = Buffer.alloc(headerBytes);
  // elf(5): a shared object of one segment, which is read and executed.
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(3, 16);
  header.writeUInt16LE(62, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(headerBytes), 24);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  header.writeUInt32LE(1, 64);
  header.writeUInt32LE(5, 68);
  for (const place of [96, 104]) header.writeBigUInt64LE(BigInt(size), place);
  header.writeBigUInt64LE(4096n, 112);
  return Buffer.concat([header, body]);
}

/** Writes nothing: that it could is enough. */
const rewrite = `
use Fcntl;
for my $number (3..20) {
  my $program = readlink("/proc/self/fd/$number") // next;
  for (1..200) {
    if (sysopen(my $out, "/proc/self/fd/$number", O_WRONLY)) { print "$program can be written\\n"; last }
    select(undef, undef, undef, 0.005);
  }
  print "tried\\n";
}
`;

test('an image whose shell is the program that starts it cannot write to that program', async () => {
  await withDisk(async (disk) => {
    await using session = await disk.open();
    await session.run({
      name: 'prepare',
      text: `cp "$JOB/attack" /attack.pl; linker=$(readlink -f /lib64/ld-linux-x86-64.so.2); cp "$linker" /lib64/real-ld
        cp "$JOB/linker" /lib64/new-ld; printf '#!/proc/self/exe\\n' >/usr/bin/new-sh; chmod 755 /lib64/new-ld /usr/bin/new-sh
        exec /lib64/real-ld /usr/bin/perl -e 'rename "/lib64/new-ld", $ARGV[0]; rename "/usr/bin/new-sh", "/usr/bin/dash"' "$linker"`,
      files: { attack: rewrite, linker: hostileLinker() },
    });
    assert.equal(new Set((await output(session, '')).split('\n')), new Set(['tried']));
  });
});

test('a link in place of /dev/null leads no program of the worker anywhere, and lasts as long as its script', async () => {
  const created = join(directory, 'created');
  // In a user namespace the devices are mounted, and cannot be replaced.
  for (const [by, target, expected] of [
    [guest, canary, 'kept'],
    [unmapped, canary, 'replaced'],
    [unmapped, created, 'replaced'],
  ] as const) {
    await withDisk(async (disk) => {
      await using session = await disk.open({}, by);
      const text = `mkdir -p "$(dirname "$1")"; : >"$1"; cd /dev; for file in null zero fd/../image1 disk; do rm -rf $file; ln -s "$1" $file; done 2>/dev/null; if [ -L null ]; then echo replaced; else echo kept; fi`;
      const { stdout } = await session.run({ name: 'replace', text, arguments: [target] });
      assert.is(stdout, `${expected}\n`);
      assert.is(await output(session, 'find /dev -type l -lname "/tmp/*"; [ -c /dev/null ] && echo there'), 'there');
      await session.close();
    });
  }
  assert.is(await stat(created).catch(() => null), null);
});

/** add_key(2) and keyctl(2): SEARCH, READ and UNLINK are 10, 11 and 9; KEY_SPEC_USER_KEYRING is -4. */
const search = 'my ($name, $value) = @ARGV; my $type = "user"; my $id = syscall(250, 10, -4, $type, $name, 0);';
const keys = {
  add: `${search} $id = syscall(248, $type, $name, $value, length $value, -4); print "added\\n" if $id > 0`,
  unlink: `${search} print "unlinked\\n" if $id > 0 and syscall(250, 9, $id, -4) == 0`,
  read: `${search} my $text = "\\0" x 100; my $size = syscall(250, 11, $id, $text, 100); print substr($text, 0, $size), "\\n" if $size > 0`,
};

test('the keys that the kernel keeps for the worker are neither read nor added to', async () => {
  const name = `imagebuilder-canary-${process.pid}`;
  assert.is((await exec('perl', ['-e', keys.add, name, 'secret'])).stdout, 'added\n');
  try {
    assert.is((await exec('perl', ['-e', keys.read, name])).stdout, 'secret\n', 'the worker itself can');
    await withDisk(async (disk) => {
      await using session = await disk.open();
      const run = async (script: string, ...rest: string[]) =>
        (
          await session.run({
            name: 'keys',
            text: `perl -e "$@"; cat /proc/keys /proc/key-users`,
            arguments: [script, ...rest],
          })
        ).stdout;
      assert.is(await run(keys.read, name), '');
      assert.is(await run(keys.add, `${name}-added`, 'added'), '');
      assert.is(await run(keys.unlink, name), '');
    });
  } finally {
    await exec('perl', ['-e', keys.unlink, name]);
    await exec('perl', ['-e', keys.unlink, `${name}-added`]);
  }
});

test('a script has its four descriptors and none that the worker was started with', async () => {
  await withDisk(async (disk) => {
    const program = [process.execPath, join(import.meta.dirname, 'guest-descriptor.ts'), JSON.stringify(disk)];
    const { stdout } = await exec('bash', ['-c', 'exec 200<"$0" 47</; exec "$@"', canary, ...program]);
    assert.is(stdout, '0 1 2 3\n');
  });
});

test('no descriptor of a script is a file of the worker', async () => {
  await withDisk(async (disk) => {
    await using session = await disk.open();
    // Its mode and owner could be changed, and /dev/null has only one inode on the whole machine.
    const look = 'for number in 0 1 2 3; do stat -L -c %F /proc/$$/fd/$number; done | sort -u';
    assert.is(await output(session, look), 'socket');
  });
});

/** System calls of x86-64 by number, with arguments by which each would work; and how they are refused. */
const refusedCalls = `
use Errno;
my $buffer = "\\0" x 512;
my %calls = (
  "io_uring_setup" => [425, 4, $buffer], "bpf" => [321, 0, pack("LLLLL", 2, 4, 4, 1, 0) . $buffer, 72],
  "userfaultfd" => [323, 1], "perf_event_open" => [298, pack("LLQ", 1, 112, 0) . $buffer, 0, -1, -1, 0],
  "ptrace" => [101, 0, 0, 0, 0], "unshare" => [272, 0x10000000], "setns" => [308, 0, 0], "memfd_secret" => [447, 0],
  "clone with a user namespace" => [56, 0x10000000 | 17, 0, 0, 0, 0], "keyctl" => [250, 0, -3, 1],
  "open_tree" => [428, -100, "/", 1], "fsopen" => [430, "tmpfs", 0], "kexec_load" => [246, 0, 0, 0, 0],
);
for my $name (sort keys %calls) {
  my ($number, @rest) = @{$calls{$name}};
  my $result = syscall($number, @rest);
  exit if $result == 0 and $name =~ /^clone/;
  print "$name: $result $!\\n" unless $result == -1 and $!{EPERM};
}
my %families = ("vsock" => 40, "alg" => 38, "packet" => 17, "bluetooth" => 31, "tipc" => 30, "key" => 15, "netrom" => 6);
for my $name (sort keys %families) {
  for my $upper (0, 1 << 40) {
    my $result = syscall(41, $families{$name} | $upper, 2, 0);
    print "$name: $result $!\\n" unless $result == -1 and $!{EAFNOSUPPORT};
  }
}
for my $protocol (4, 9, 15, 16, 21) {
  my $result = syscall(41, 16, 3, $protocol);
  print "netlink $protocol: $result $!\\n" unless $result == -1 and $!{EAFNOSUPPORT};
}
syscall(41, $_, 1, 0) >= 0 or print "family $_ is refused\\n" for 1, 2;
syscall(41, 16, 3, 0) >= 0 or print "rtnetlink is refused\\n";
my $result = syscall(435, $buffer, 88);
print "clone3: $result $!\\n" unless $result == -1 and $!{ENOSYS};
# LOOP_GET_STATUS64, which would name the file of the worker, and the same as only the kernel reads it; LOOP_CHANGE_FD,
# LOOP_SET_BLOCK_SIZE, LOOP_CTL_GET_FREE.
open(my $disk, "+<", glob "/dev/image*") or die "there is no device";
for my $command (0x4C05, 0x4C05 | (1 << 40), 0x4C06, 0x4C09, 0x4C82) {
  my $status = "\\0" x 512;
  my $result = syscall(16, fileno($disk), $command, $status);
  print "ioctl $command: $result $!\\n" unless $result == -1 and $!{EPERM};
}
`;

test('system calls that container engines refuse are refused', async () => {
  await withDisk(async (disk) => {
    await using session = await disk.open();
    assert.is(await output(session, 'perl "$JOB/calls" 2>&1', { calls: refusedCalls }), '');
    assert.match(await output(session, 'cat /proc/self/status'), /^Seccomp:\t2$/m);
  });
});

test('needless facts of /proc and /sys about the worker’s machine are hidden', async () => {
  await withDisk(async (disk) => {
    await using session = await disk.open();
    const text = `cd /proc; for file in kcore keys key-users timer_list sched_debug slabinfo vmallocinfo interrupts pressure/* scsi/* acpi/* kmsg \\
        /sys/firmware/* /sys/kernel/debug/* /sys/fs/fuse/*; do [ ! -e "$file" ] || [ -z "$(timeout 1 head -c 1 "$file" 2>/dev/null)" ] || echo "$file"; done
      for file in sys/vm/drop_caches sys/kernel/core_pattern irq/default_smp_affinity; do ( : >>"$file" ) 2>/dev/null && echo "$file can be written"; done; :`;
    assert.is(await output(session, text), '');
  });
});

/** $1 is a port, and there is an abstract socket of that name. */
const connect = `use Socket;
my $port = shift;
socket(my $tcp, AF_INET, SOCK_STREAM, 0) or die;
connect($tcp, sockaddr_in($port, inet_aton("127.0.0.1"))) and print "tcp\\n";
socket(my $unix, AF_UNIX, SOCK_STREAM, 0) or die;
connect($unix, pack_sockaddr_un("\\0imagebuilder-canary-$port")) and print "unix\\n";
`;

test('services on the worker’s loopback interface, and its abstract sockets, are out of reach', async () => {
  await using sockets = new AsyncDisposableStack();
  const tcp = createServer().listen(0, '127.0.0.1');
  sockets.defer(() => void tcp.close());
  await once(tcp, 'listening');
  const { port } = tcp.address() as AddressInfo;
  const unix = createServer().listen(`\0imagebuilder-canary-${port}`);
  sockets.defer(() => void unix.close());
  await once(unix, 'listening');
  assert.is((await exec('perl', ['-e', connect, String(port)])).stdout, 'tcp\nunix\n', 'the worker itself can');
  await withDisk(async (disk) => {
    await using session = await disk.open();
    const { stdout } = await session.run({ name: 'test', text: 'perl -e "$@"', arguments: [connect, String(port)] });
    assert.is(stdout, '');
  });
});

/**
 * xattr(7) by the numbers of x86-64: setxattr and getxattr of `security.capability`, in the second revision of its format.
 * The kernel hands it out like that only where the id of root that it keeps is 0.
 */
const capability = {
  set: 'my ($name, $value) = ("security.capability", pack("V5", 0x02000001, 1 << 10, 0, 0, 0)); syscall(188, $_, $name, $value, 20, 0) == 0 or die "$!\\n" for @ARGV',
  get: 'my ($name, $value) = ("security.capability", "\\0" x 24); for (@ARGV) { my $size = syscall(191, $_, $name, $value, 24); printf "%d %x\\n", $size, unpack "V", $value }',
};

test('owners and capabilities of files are on the image’s disk as they are inside', async () => {
  const list = 'stat -c "%u:%g %a" /var/of-*';
  const expected = '0:0 644\n33:33 4755\n65534:65534 644';
  await withDisk(async (disk) => {
    {
      await using session = await disk.open();
      const text = `cd /var; touch of-0-root of-1-www of-2-nobody; chown 33:33 of-1-www; chmod 4755 of-1-www
        chown 65534:65534 of-2-nobody; perl -e "$2" of-0-root; ${list}`;
      const script = { name: 'owners', text, arguments: ['', capability.set] };
      assert.is((await session.run(script)).stdout.trim(), expected);
      await session.close();
    }
    await using session = await disk.open({}, unmapped);
    assert.is(await output(session, 'cat /proc/self/uid_map | tr -s " "'), '0 0 4294967295');
    const script = { name: 'owners', text: `${list}; perl -e "$1" /var/of-0-root`, arguments: [capability.get] };
    assert.is((await session.run(script)).stdout.trim(), `${expected}\n20 2000001`);
  });
});

/** Tries the file that is descriptor 5. Changes nothing that is in it. */
const attack = `cat /proc/self/fd/5 >/dev/null && echo read
( : >>/proc/self/fd/5 ) && echo written
touch /proc/self/fd/5 && echo touched
:`;

test('root in the image is a user without rights on the worker, also where it has found a way out', async () => {
  const readable = join(directory, 'readable');
  await writeFile(readable, 'untouched\n', { mode: 0o644 });
  await withDisk(async (disk) => {
    await using session = await disk.open();
    const map = await output(session, 'cat /proc/self/uid_map');
    assert.is(await output(session, 'cat /proc/self/gid_map'), map);
    const [inside, outside = 0, count] = map.split(/\s+/).map(Number);
    assert.equal([inside, count], [0, 65_536]);
    assert.ok(outside >= unprivilegedIds.first && outside + 65_535 <= unprivilegedIds.last, map);

    const running = session.run({ name: 'waits', text: 'sleep 98765 || :' });
    const processId = await waitForProcess(directory, /^sleep 98765/);
    const status = await readFile(`/proc/${processId}/status`, 'utf8');
    for (const name of ['Uid', 'Gid']) {
      assert.match(status, new RegExp(`^${name}:\t${[outside, outside, outside, outside].join('\t')}$`, 'm'));
    }
    // Root of that user namespace, with all of its capabilities, beyond every other wall.
    const tried = async (file: string, ...enter: readonly string[]) =>
      (await exec('sh', ['-c', 'exec 5<"$1"; shift; exec "$@"', 'sh', file, ...enter, 'sh', '-c', attack])).stdout;
    const escaped = ['nsenter', '--target', String(processId), '--user', '--'];
    assert.is(await tried(canary), 'read\nwritten\ntouched\n', 'the worker itself can');
    assert.is(await tried(canary, ...escaped), '');
    assert.is(await tried(readable, ...escaped), 'read\n');
    process.kill(processId);
    await running;
  });
});

test.run();
