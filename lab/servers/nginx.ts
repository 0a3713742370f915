import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePorts } from './ports.ts';
import { signalGroup, spawnGroup } from './process-group.ts';

/** A real nginx in front of another server, from Debian's package nginx-light, on loopback. */
export interface Nginx extends AsyncDisposable {
  readonly url: string;
}

/** `locations`: the `location` blocks of the one server that it is. `port`: default a free one. */
export async function startNginx(locations: string, port?: number): Promise<Nginx> {
  const [free = 0] = port === undefined ? await freePorts(1) : [port];
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-nginx-'));
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${join(directory, name)};`)
    .join('\n');
  const file = join(directory, 'nginx.conf');
  await writeFile(
    file,
    `daemon off;
pid ${join(directory, 'pid')};
error_log ${join(directory, 'error.log')};
events {}
http {
  access_log off;
  ${paths}
  server {
    listen 127.0.0.1:${free};
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    ${locations}
  }
}
`,
  );
  const nginx = spawnGroup(['nginx', '-c', file, '-e', join(directory, 'error.log')], { PATH: process.env.PATH ?? '' });
  let output = '';
  nginx.all.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  let ended = false;
  void nginx.finally(() => {
    ended = true;
  });
  const dispose = async () => {
    signalGroup(nginx, 'SIGTERM');
    await nginx;
    await rm(directory, { recursive: true, force: true });
  };
  while (!(await takesConnections(free))) {
    if (ended) {
      await dispose();
      throw new Error(`nginx ended before it listened: ${output}`);
    }
    await sleep(50);
  }
  return { url: `http://127.0.0.1:${free}`, [Symbol.asyncDispose]: dispose };
}

async function takesConnections(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const connected = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return connected;
}
