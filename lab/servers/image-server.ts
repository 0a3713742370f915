import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { listen } from './listen.ts';

/** Serves one file, with SHA256SUMS beside it, on the loopback interface, as the sites of cloud images do. */
export interface WebServer extends AsyncDisposable {
  /** Of the file. */
  readonly url: string;
}

export async function serveFile(path: string): Promise<WebServer> {
  const name = basename(path);
  const { size } = await stat(path);
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  const sums = `${hash.digest('hex')} *${name}\n`;

  const server = createServer((request, response) => {
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const start = Number(range?.[1] ?? 0);
    if (request.url === '/SHA256SUMS') response.end(sums);
    else if (request.url !== `/${name}`) response.writeHead(404).end('not found\n');
    else if (start >= size) response.writeHead(416, { 'content-range': `bytes */${size}` }).end();
    else {
      response.writeHead(range === null ? 200 : 206, {
        'content-type': 'application/octet-stream',
        'accept-ranges': 'bytes',
        'content-length': size - start,
        ...(range === null ? {} : { 'content-range': `bytes ${start}-${size - 1}/${size}` }),
      });
      if (request.method === 'HEAD') response.end();
      // A reader that goes away, as on Ctrl-C, is no fault of the server.
      else pipeline(createReadStream(path, { start }), response).catch(() => response.destroy());
    }
  });
  const listening = await listen(server);
  return { ...listening, url: `${listening.url}/${name}` };
}
