import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { listen } from './listen.ts';

/**
 * Serves one base image with its SHA256SUMS, as the sites of cloud images do, and others beside it by their names. Can hold every download in the middle
 * until `release`, or make it fail.
 */
export interface ImageServer extends AsyncDisposable {
  readonly url: string;
  hold(): void;
  release(): void;
  /** Makes every request fail until it is called with null: with a status, or with a connection cut in the middle. */
  fault(fault: { readonly status: number } | 'cut' | null): void;
  /** Offsets in the image at which downloads have begun, in their order. */
  readonly starts: readonly number[];
}

const chunkBytes = 1024 * 1024;

export async function startImageServer(
  path: string,
  others: Readonly<Record<string, Buffer>> = {},
): Promise<ImageServer> {
  const name = basename(path);
  const { size } = await stat(path);
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  const sha256 = hash.digest('hex');
  let held: PromiseWithResolvers<void> | undefined;
  const starts: number[] = [];
  let fault: Parameters<ImageServer['fault']>[0] = null;

  async function* content(start: number): AsyncGenerator<Buffer> {
    let at = start;
    for await (const chunk of createReadStream(path, { start, highWaterMark: chunkBytes }) as AsyncIterable<Buffer>) {
      if (at >= size / 2) {
        if (fault === 'cut') throw new Error('cut');
        await held?.promise;
      }
      at += chunk.length;
      yield chunk;
    }
  }
  const server = createServer((request, response) => {
    if (typeof fault === 'object' && fault !== null) return void response.writeHead(fault.status).end();
    const [path] = (request.url ?? '').split('?');
    if (path === '/SHA256SUMS') return void response.end(`${sha256} *${name}\n`);
    const other = others[path?.slice(1) ?? ''];
    if (other !== undefined) return void response.end(other);
    if (path !== `/${name}`) return void response.writeHead(404).end();
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const start = Number(range?.[1] ?? 0);
    if (start >= size) return void response.writeHead(416, { 'content-range': `bytes */${size}` }).end();
    response.writeHead(range === null ? 200 : 206, {
      'content-type': 'application/octet-stream',
      'accept-ranges': 'bytes',
      etag: `"${sha256}"`,
      'content-length': size - start,
      ...(range === null ? {} : { 'content-range': `bytes ${start}-${size - 1}/${size}` }),
    });
    if (request.method === 'HEAD') return void response.end();
    starts.push(start);
    // A reader that is killed closes its connection in the middle.
    void pipeline(content(start), response).catch(() => response.destroy());
  });
  const listening = await listen(server);
  const release = () => {
    held?.resolve();
    held = undefined;
  };
  return {
    url: `${listening.url}/${name}`,
    fault(wanted) {
      fault = wanted;
    },
    hold() {
      held ??= Promise.withResolvers();
    },
    release,
    starts,
    async [Symbol.asyncDispose]() {
      release();
      await listening[Symbol.asyncDispose]();
    },
  };
}
