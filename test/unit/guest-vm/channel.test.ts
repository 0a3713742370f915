import { Duplex, PassThrough } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ChannelEvents, openChannel, type Ports, portNames } from '#lib/guest/vm/channel.ts';

interface Wire {
  readonly ports: Ports;
  /** Sends from the vm's side. */
  send(name: keyof Ports, bytes: string | Buffer): void;
  /** The worker's lines on the control port so far. */
  readonly heard: () => string;
}

function makeWire(): Wire {
  let heard = '';
  const ports = Object.fromEntries(
    portNames.map((name) => [
      name,
      new Duplex({
        read() {},
        write(chunk: Buffer, _encoding, done) {
          heard += chunk.toString();
          done();
        },
      }),
    ]),
  ) as unknown as Ports;
  return { ports, send: (name, bytes) => ports[name].push(bytes), heard: () => heard };
}

async function settle(): Promise<void> {
  for (let turns = 0; turns < 5; turns += 1) await turn();
}

function nonceOf(wire: Wire): string {
  return /run ([0-9a-f]{32})\n$/.exec(wire.heard())?.[1] ?? '';
}

const noEvents: ChannelEvents = {
  onFault: (error) => assert.unreachable(error.message),
  onLimit: (limited) => assert.unreachable(limited),
};

test('output reaches the script that it belongs to, whole, whatever pieces it comes in', async () => {
  const wire = makeWire();
  const channel = openChannel(wire.ports, noEvents);
  wire.send('control', 'rea');
  wire.send('control', 'dy\n');
  await channel.begin();
  wire.send('stdout', 'left over from before');
  await settle();
  const lines: string[] = [];
  const run = channel.run({
    onLine: (line, stream) => lines.push(`${stream} ${line}`),
    onStatusLine: (line) => lines.push(`status ${line}`),
  });
  const nonce = nonceOf(wire);
  const stdout = Buffer.from(`one\ntwo \0 \0${nonce.slice(0, 5)}\nthree\0${nonce}after`);
  for (const byte of stdout) wire.send('stdout', Buffer.from([byte]));
  wire.send('stderr', `oops\0${nonce}`);
  wire.send('status', `half\n`);
  wire.send('result', `\0${nonce}`);
  wire.send('control', `done ${nonce} 7\n`);
  await settle();
  wire.send('status', `rest\0${nonce}`);
  assert.is(await run.exitCode, 7);
  assert.is(run.stdout(), `one\ntwo \0 \0${nonce.slice(0, 5)}\nthree`);
  assert.is(run.stderr(), 'oops');
  assert.equal(lines.sort(), [
    'status half',
    'status rest',
    'stderr oops',
    'stdout one',
    'stdout three',
    `stdout two \0 \0${nonce.slice(0, 5)}`,
  ]);
});

for (const [what, text] of [
  ['an end that nothing was begun for', `done ${'0'.repeat(32)} 0\n`],
  ['a word that is none', 'hello\n'],
  ['a limit that there is none of', 'limit patience\n'],
  ['being ready twice', 'ready\nready\n'],
  ['a line without an end', 'x'.repeat(100_000)],
] as const) {
  test(`the vm is not believed when it says ${what}`, async () => {
    const wire = makeWire();
    const faults: string[] = [];
    openChannel(wire.ports, { ...noEvents, onFault: ({ code }) => void faults.push(code) });
    wire.send('control', text);
    await settle();
    assert.ok(faults.length > 0);
    assert.is(faults[0], 'guest.failed');
  });
}

test('a limit that is met is heard of before the end of the script', async () => {
  const wire = makeWire();
  const heard: string[] = [];
  const channel = openChannel(wire.ports, { ...noEvents, onLimit: (limited) => void heard.push(limited) });
  wire.send('control', 'ready\n');
  await channel.begin();
  const run = channel.run({});
  const nonce = nonceOf(wire);
  void run.exitCode.then((code) => heard.push(String(code)));
  for (const name of ['stdout', 'stderr', 'status', 'result'] as const) wire.send(name, `\0${nonce}`);
  wire.send('control', `limit memory\nlimit processes\ndone ${nonce} 137\n`);
  await settle();
  assert.equal(heard, ['memory', 'processes', '137']);
});

test('each vm begins with random numbers of its own', async () => {
  const seeds = await Promise.all(
    [makeWire(), makeWire()].map(async (wire) => {
      const channel = openChannel(wire.ports, noEvents);
      wire.send('control', 'ready\n');
      await channel.begin();
      const [, seed = ''] = /^begin ([0-9a-f]{128})\n$/.exec(wire.heard()) ?? [];
      assert.is(seed.length, 128, wire.heard());
      return seed;
    }),
  );
  assert.is(new Set(seeds).size, 2);
});

test('a vm says whether its state may be saved', async () => {
  for (const [line, answer] of [
    ['held', true],
    ['refused', false],
  ] as const) {
    const wire = makeWire();
    const channel = openChannel(wire.ports, noEvents);
    wire.send('control', `${line}\n`);
    assert.is(await channel.hold(), answer);
    assert.is(wire.heard(), 'hold\n');
  }
});

test('an exit code that no process can have is a fault', async () => {
  const wire = makeWire();
  const faults: string[] = [];
  const channel = openChannel(wire.ports, { ...noEvents, onFault: ({ code }) => void faults.push(code) });
  wire.send('control', 'ready\n');
  await channel.begin();
  channel.run({});
  wire.send('control', `done ${nonceOf(wire)} 999\n`);
  await settle();
  assert.equal(faults, ['guest.failed']);
});

test('a result waits in the vm until there is room for it, and comes whole', async () => {
  const wire = makeWire();
  const channel = openChannel(wire.ports, noEvents);
  wire.send('control', 'ready\n');
  await channel.begin();
  const result = new PassThrough();
  const run = channel.run({ result });
  const nonce = nonceOf(wire);
  for (let part = 0; part < 40; part += 1) {
    wire.send('result', Buffer.alloc(50_000, part));
    await settle();
  }
  assert.ok(wire.ports.result.isPaused());
  for (const name of ['stdout', 'stderr', 'status', 'result'] as const) wire.send(name, `\0${nonce}`);
  wire.send('control', `done ${nonce} 0\n`);
  const bytes = Buffer.concat(await result.toArray());
  assert.is(await run.exitCode, 0);
  assert.is(bytes.length, 2_000_000);
  assert.is(bytes.at(-1), 39);
});

test('of endless output only the end is kept', async () => {
  const wire = makeWire();
  const channel = openChannel(wire.ports, noEvents);
  wire.send('control', 'ready\n');
  await channel.begin();
  const run = channel.run({});
  for (let part = 0; part < 40; part += 1) {
    wire.send('stdout', 'x'.repeat(100_000));
    await settle();
  }
  assert.ok(run.stdout().length <= 1024 * 1024);
});

test.run();
