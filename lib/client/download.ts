import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ImageResult } from '../api/image-result.ts';
import { ImageBuilderError, isNodeError, isNoSpace } from '../errors.ts';
import type { HttpResponse } from '../http/response.ts';
import { plain, quoted } from '../text.ts';
import { writeSparse } from '../write-sparse.ts';

/** Downloads of images and of the files beside them, which are there whole and verified, or under another name. */

export interface RemoteFile {
  readonly name: string;
  readonly size: number;
  readonly checksums: { readonly sha256: string };
  readonly location: string;
  readonly store: ImageResult['store'];
  readonly download_url?: string | undefined;
}

const { O_CREAT, O_NOFOLLOW, O_RDWR } = constants;

/** Sends a request for the bytes of a file from `startByte` on. */
export type OpenFile = (file: RemoteFile, startByte: number) => Promise<HttpResponse>;

export interface DownloadOptions {
  readonly folder: string;
  /** For files that are on no disk of this machine. */
  readonly open: OpenFile;
  readonly signal: AbortSignal;
  /** Called with the bytes of the file that are there. */
  readonly onProgress: (currentBytes: number) => void;
}

/**
 * Downloads a file into the folder, and resolves with its path. Goes on where an earlier download was interrupted. A
 * file that is there with the same content is the result; one with another content stays, and throws `request.invalid`.
 * Throws `upstream.unusable` for a content that is not the one of the digest.
 */
export async function download(file: RemoteFile, options: DownloadOptions): Promise<string> {
  requireFileName(file.name);
  try {
    return await downloadInto(file, options);
  } catch (error) {
    options.signal.throwIfAborted();
    if (error instanceof ImageBuilderError || !isNodeError(error) || isNoSpace(error)) throw error;
    throw new ImageBuilderError('request.invalid', `${plain(options.folder)} cannot be used: ${plain(error.message)}`, {
      cause: error,
    });
  }
}

async function downloadInto(file: RemoteFile, options: DownloadOptions): Promise<string> {
  const { folder, signal } = options;
  await mkdir(folder, { recursive: true });
  const path = join(folder, file.name);
  if (await isThere(path)) {
    if ((await digestOf(path, signal)) === file.checksums.sha256) return path;
    throw new ImageBuilderError(
      'request.invalid',
      `${plain(path)} is there with another content than the store has; move it away, or choose another folder with --to`,
    );
  }
  const partial = join(folder, `.${file.name}.part`);
  await complete(partial, file, options);
  // By the file itself: an earlier download may have left a part of another content.
  const digest = await digestOf(partial, signal);
  if (digest !== file.checksums.sha256) {
    await rm(partial, { force: true });
    throw new ImageBuilderError(
      'upstream.unusable',
      `${plain(file.name)} did not arrive with the content that was stored: its SHA-256 is ${digest}; try again`,
    );
  }
  await rename(partial, path);
  return path;
}

/** Makes the partial file, or what is missing of it. */
async function complete(path: string, file: RemoteFile, options: DownloadOptions): Promise<void> {
  // Never through a link that somebody else has put there.
  await using target = await open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o666);
  let { size } = await target.stat();
  if (size > file.size) size = 0;
  if (size < file.size) {
    using source = await openSource(file, size, options);
    if (!source.isRest) size = 0;
    for await (const chunk of source.body) {
      if (size + chunk.length > file.size) throw tooLong(file);
      await writeSparse(target, chunk, size);
      size += chunk.length;
      options.onProgress(size);
    }
  }
  await target.truncate(size);
  await target.sync();
}

interface Source extends Disposable {
  readonly body: AsyncIterable<Buffer>;
  /** Whether it begins at the byte that was asked for, and not with the first one. */
  readonly isRest: boolean;
}

async function openSource(
  file: RemoteFile,
  startByte: number,
  { open: send, signal }: DownloadOptions,
): Promise<Source> {
  if (file.location.startsWith('file:')) {
    const path = fileURLToPath(file.location);
    await requireReadable(path);
    const body = createReadStream(path, { start: startByte, signal });
    return { body, isRest: true, [Symbol.dispose]: () => void body.destroy() };
  }
  const response = await send(file, startByte);
  const { status, statusText } = response;
  if (status === 200 || status === 206) {
    return { body: response.body, isRest: status === 206, [Symbol.dispose]: () => response[Symbol.dispose]() };
  }
  response[Symbol.dispose]();
  throw new ImageBuilderError(
    'upstream.status',
    `the store answered ${status} ${plain(statusText)} for ${plain(file.name)}`.trim(),
  );
}

async function requireReadable(path: string): Promise<void> {
  try {
    await using _ = await open(path);
  } catch (error) {
    const code = isNodeError(error) ? error.code : '';
    const reason = code === 'ENOENT' ? 'is not on this machine' : 'cannot be read by this user';
    throw new ImageBuilderError(
      'request.invalid',
      `${plain(path)} ${reason}: files of the file store lie on the machine of the service; run the command there, as a user who may read them (IMAGEBUILDER_STORE_READERS)`,
      { cause: error },
    );
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return false;
    throw error;
  }
}

async function digestOf(path: string, signal: AbortSignal): Promise<string> {
  const digest = createHash('sha256');
  for await (const chunk of createReadStream(path, { signal })) digest.update(chunk as Buffer);
  return digest.digest('hex');
}

/** The name comes from the service: it must name a file in the folder, and no hidden one. */
function requireFileName(name: string): void {
  if (name !== '' && !name.startsWith('.') && !/[/\\\0]/.test(name)) return;
  throw new ImageBuilderError('upstream.unusable', `the service names a file ${quoted(name)}, which is no file name`);
}

function tooLong(file: RemoteFile): ImageBuilderError {
  return new ImageBuilderError(
    'upstream.unusable',
    `the store sends more than the ${file.size} bytes of ${plain(file.name)}`,
  );
}
