import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { growthError, inodeError, parseRoom, withRoom } from '#lib/apt/room.ts';
import { ImageBuilderError } from '#lib/errors.ts';

const MiB = 1024 * 1024;
/** As scripts/room.sh prints it for / and a separate /boot, among other facts. */
const lines = [
  'architecture amd64',
  'room /dev/loop0p1 2043984 1043984 800000 131072 90000 /',
  'room /dev/loop0p1 2043984 1043984 800000 131072 90000 /',
  'room /dev/loop0p13 102400 82400 15000 25600 25000 /boot',
  'room tmpfs - - - - - /opt',
];
const plan = (...install: string[]) => ({ install, remove: [], instead: new Map<string, string>() });

test('each file system counts once, with what is reserved for root', () => {
  assert.equal(parseRoom(lines), [
    { target: '/', sizeBytes: 2_043_984 * 1024, freeBytes: 1_000_000 * 1024, freeInodes: 90_000 },
    { target: '/boot', sizeBytes: 100 * MiB, freeBytes: 20_000 * 1024, freeInodes: 25_000 },
  ]);
  assert.equal(parseRoom(['df: invalid option', 'room']), []);
});

test('packages are refused where all of the room is not enough, with needed and free bytes', () => {
  const rooms = parseRoom(lines);
  assert.is(growthError(rooms, 900 * MiB), null);
  const error = growthError(rooms, 2000 * MiB);
  assert.is(error?.code, 'image.full');
  assert.match(
    error?.message ?? '',
    /need 2\.0 GiB, and the image has 996\.1 MiB left \(\/: 976\.6 MiB of 1\.9 GiB free; \/boot: 19\.5 MiB of 100\.0 MiB free\)/,
  );
  assert.is(growthError([], 2000 * MiB), null, 'nothing is known of the room');
});

test('packages are refused where their files outnumber the inodes; a file system without a number of them has enough', () => {
  const few = parseRoom(['room /dev/vda1 2043984 43984 800000 1024 12 /']);
  assert.is(inodeError(few, plan('a', 'b'), new Set()), null);
  assert.is(inodeError(few, plan('a', 'b', 'c'), new Set(['a'])), null, 'one is only upgraded');
  const error = inodeError(few, plan('a', 'b', 'c'), new Set());
  assert.is(error?.code, 'image.full');
  assert.match(error?.message ?? '', /more than 15 new files, and the image has inodes for 12 .*, 12 inodes\)/);
  assert.is(inodeError(parseRoom(['room /dev/vda1 2043984 43984 800000 0 0 /']), plan('a', 'b', 'c'), new Set()), null);
});

test('a full file system is named with the room that is left', () => {
  const full = new ImageBuilderError('image.full', 'no room', { logTail: ['last'] });
  const named = withRoom(full, parseRoom(lines));
  assert.instance(named, ImageBuilderError);
  assert.match((named as ImageBuilderError).message, /^no room \(\/: .* free; \/boot: /);
  assert.equal((named as ImageBuilderError).logTail, ['last']);
  const other = new ImageBuilderError('apt.install', 'x');
  assert.is(withRoom(other, parseRoom(lines)), other);
  assert.is(withRoom(named, parseRoom(lines)), named, 'not twice');
});

test.run();
