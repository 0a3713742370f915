import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, open, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { orAborted } from '../../async.ts';
import { ImageBuilderError } from '../../errors.ts';
import { giveTo } from '../../unprivileged.ts';
import { withoutEmptyPages } from './empty-pages.ts';
import { stateSocket } from './machine-command.ts';
import { openMonitor } from './monitor.ts';
import { launchVm, type VmOptions } from './vm.ts';

export interface SavedFile {
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** A vm without a build: no disk of it has content. */
export type BlankOptions = Omit<VmOptions, 'overlay' | 'proxy' | 'statePath' | 'saveFolder'>;

const migration = z.object({ status: z.string() });

const saveLimitMs = 60_000;
/** More than any disk takes: QEMU is not to slow itself down. */
const mostBytesPerSecond = 2 ** 50;
/** Much more than devices, and marks for empty memory, take. */
const mostDeviceBytes = 2 ** 28;

/**
 * Boots a vm without an image up to the point where it would begin, and writes its state to the new file `path`, which
 * only this process's user can read. Throws `guest.failed` where that cannot be done.
 */
export async function saveState(options: BlankOptions, path: string, signal: AbortSignal): Promise<SavedFile> {
  const limits = [signal, AbortSignal.timeout(saveLimitMs)];
  await using opened = new AsyncDisposableStack();
  const saveFolder = join(options.directory, 'state');
  await mkdir(saveFolder, { mode: 0o700 });
  opened.defer(() => rm(saveFolder, { recursive: true, force: true }));
  const connected = await listenIn(saveFolder, opened);
  await giveTo(options.user, saveFolder);

  const vm = opened.use(await launchVm({ ...options, overlay: null, proxy: null, statePath: null, saveFolder }));
  const { saving } = vm;
  if (saving === null) throw new ImageBuilderError('internal', 'the vm has no monitor');
  const unlessLost = <Value>(promise: Promise<Value>) => orAborted(promise, vm.lost, ...limits);
  if (!(await unlessLost(vm.channel.hold()))) {
    throw new ImageBuilderError('guest.failed', 'this kernel seeds its random numbers, or finds its disks, too early');
  }
  const monitor = openMonitor(saving.monitor);
  await unlessLost(monitor.order('qmp_capabilities'));
  await unlessLost(monitor.order('migrate-set-parameters', { 'max-bandwidth': mostBytesPerSecond }));
  await unlessLost(monitor.order('migrate', { uri: saving.uri }));
  const most = options.memoryBytes + mostDeviceBytes;
  const saved = await unlessLost(connected().then((socket) => receive(socket, path, most, AbortSignal.any(limits))));
  // QEMU closes the connection when all is written, and also when it gives up.
  const { status } = migration.parse(await unlessLost(monitor.order('query-migrate')));
  if (status === 'completed') return saved;
  throw new ImageBuilderError('guest.failed', `QEMU has not saved its state: ${status}`);
}

async function receive(socket: Socket, path: string, most: number, signal: AbortSignal): Promise<SavedFile> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const limited = async function* (chunks: AsyncIterable<Buffer>) {
    let bytes = 0;
    for await (const chunk of chunks) {
      bytes += chunk.length;
      if (bytes > most) throw new ImageBuilderError('guest.failed', 'the state is larger than its vm');
      yield chunk;
    }
  };
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      sizeBytes += chunk.length;
      hash.update(chunk);
      yield chunk;
    }
  };
  await pipeline(socket, limited, withoutEmptyPages, counted, createWriteStream(path, { mode: 0o600 }), { signal });
  return { sha256: hash.digest('hex'), sizeBytes };
}

/** The first connection to the socket in the folder, which is named by a descriptor since such names must be short. */
async function listenIn(folder: string, opened: AsyncDisposableStack): Promise<() => Promise<Socket>> {
  const handle = opened.use(await open(folder, 'r'));
  const server = createServer();
  opened.defer(() => void server.close());
  const connected = Promise.withResolvers<Socket>();
  server.once('connection', (socket) => {
    opened.defer(() => void socket.destroy());
    connected.resolve(socket);
  });
  server.listen(`/proc/self/fd/${handle.fd}/${stateSocket}`);
  await once(server, 'listening');
  return () => connected.promise;
}
