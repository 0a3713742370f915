import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from './ports.ts';

/** A real proxy, from Debian's package tinyproxy, on loopback, which wants user and password. */
export interface Tinyproxy extends AsyncDisposable {
  readonly port: number;
  /** First lines of the requests so far. */
  requests(): Promise<string[]>;
}

export async function startTinyproxy(user: string, password: string): Promise<Tinyproxy> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-tinyproxy-'));
  const [port = 0] = await freePorts(1);
  const log = join(directory, 'log');
  const lines = [`Port ${port}`, 'Listen 127.0.0.1', 'Allow 127.0.0.1', `BasicAuth ${user} ${password}`];
  const file = join(directory, 'tinyproxy.conf');
  await writeFile(file, [...lines, `LogFile "${log}"`, 'LogLevel Info', 'MaxClients 50', 'Timeout 60', ''].join('\n'));
  const proxy = spawn('tinyproxy', ['-d', '-c', file], { stdio: 'ignore' });
  await untilListening(port, proxy);
  return {
    port,
    async requests() {
      const text = await readFile(log, 'utf8');
      return text.split('\n').flatMap((line) => / Request \(file descriptor \d+\): (.*)$/.exec(line)?.[1] ?? []);
    },
    async [Symbol.asyncDispose]() {
      const ended = once(proxy, 'exit');
      proxy.kill();
      await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function untilListening(port: number, proxy: ChildProcess): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const connected = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (connected) return;
    if (proxy.exitCode !== null) throw new Error(`tinyproxy ended with ${proxy.exitCode}`);
    await sleep(50);
  }
}
