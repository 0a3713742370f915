import { createHash } from 'node:crypto';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageBuilderError, messageOf } from '../../errors.ts';
import { type CacheEntry, type FileCache, openCache } from '../../fetch/cache.ts';
import { addOwnFile, digestOfKey } from '../../fetch/own-file.ts';
import { tryLock } from '../../lock.ts';
import type { Log } from '../../log.ts';
import { findTool } from '../../tools.ts';
import { portNames } from './channel.ts';
import { type Disk, machineCommand } from './machine-command.ts';
import { type BlankOptions, saveState } from './save-state.ts';
import { startVm, type Vm, type VmOptions } from './vm.ts';

/**
 * States of vms that have booted and not begun, with which the next ones go on: to boot takes an emulator four times as
 * long. A state has nothing of a build, and fits vms with the same devices on the same start of this machine. The second
 * vm that could use one makes it, so that a single build in a fresh cache pays nothing for it.
 */
export interface SavedStates {
  readonly cacheDirectory: string;
  readonly log: Log;
}

/** The folder of vms in the worker's cache, and that of their states. */
export const vmFolder = 'vm';
export const statesFolder = join(vmFolder, 'states');
const maximumBytes = 512 * 1024 ** 2;
/** Number of the form of these states: those of another are as good as none. */
const form = 2;
/** With more memory, to save it takes too long: QEMU looks whether each page is empty. */
const maximumMemoryBytes = 4 * 1024 ** 3;
/** It is ready in a second or two, or not at all. */
const startLimitMs = 60_000;

/**
 * Starts a vm that goes on with a saved state, as `startVm` does; null where there is none that fits, or where it is of no
 * use. Throws only the reason of `signal`.
 */
export async function startSaved(options: VmOptions, states: SavedStates, signal: AbortSignal): Promise<Vm | null> {
  // Tried with this machine only. With KVM a boot takes no longer. A network has connections to processes.
  if (options.accelerator !== 'tcg' || options.machine.bus !== 'pci' || options.proxy !== null) return null;
  if (options.memoryBytes > maximumMemoryBytes) return null;
  const blank = blankOf(options);
  try {
    const cache = await openCache(join(states.cacheDirectory, statesFolder), maximumBytes);
    const key = await keyOf(blank);
    return await startWith({ key, cache, blank }, options, states, signal);
  } catch (error) {
    signal.throwIfAborted();
    states.log.warn('no state of a vm can be saved, so each boots', { reason: messageOf(error) });
    return null;
  }
}

/** The vm before it has anything of a build; disks differ in their content and size alone. */
function blankOf({ overlay, disks, ...options }: VmOptions): BlankOptions {
  const count = (overlay?.parts.length ?? 0) + disks.length;
  const blanks = Array.from({ length: count }, (_, index): Disk => ({ source: 'blank', serial: `blank${index}` }));
  return { ...options, disks: blanks };
}

interface Wanted {
  readonly key: string;
  readonly cache: FileCache;
  readonly blank: BlankOptions;
}

async function startWith(wanted: Wanted, options: VmOptions, states: SavedStates, signal: AbortSignal) {
  const { key, cache } = wanted;
  let entry: CacheEntry | null = null;
  try {
    entry = (await cache.find(urlOf('state', key))) ?? (await make(wanted, states, signal));
    await using file = entry === null ? null : await cache.open(entry.sha256);
    if (file === null) return null;
    return await startVm({ ...options, statePath: `/proc/self/fd/${file.fd}` }, startLimitMs, signal);
  } catch (error) {
    signal.throwIfAborted();
    const logTail = error instanceof ImageBuilderError ? error.logTail : [];
    states.log.warn('a saved state of the vm is of no use, so it boots', {
      reason: messageOf(error),
      console: logTail,
    });
    if (entry !== null) await cache.drop(entry.sha256);
    // Once may be by chance, such as a damaged file.
    await note(cache, (await isNoted(cache, 'failed', key)) ? 'unfit' : 'failed', key);
    return null;
  }
}

/** Makes the state; null where this is the first vm that wants it, where another one makes it, or where none is of use. */
async function make({ key, cache, blank }: Wanted, { cacheDirectory, log }: SavedStates, signal: AbortSignal) {
  if (!(await isNoted(cache, 'wanted', key))) {
    await note(cache, 'wanted', key);
    return null;
  }
  if (await isNoted(cache, 'unfit', key)) return null;
  await using making = await tryLock(join(cacheDirectory, statesFolder, 'making'));
  if (making === null) return null;
  const url = urlOf('state', key);
  const made = await cache.find(url);
  if (made !== null) return made;
  // Always the same path: what a killed worker has left there is replaced.
  const path = cache.partPath(url);
  await rm(path, { force: true });
  const startedMs = performance.now();
  const file = await saveState(blank, path, signal);
  await addOwnFile(cache, path, { url, ...file });
  await cache.evict();
  const took = Math.round(performance.now() - startedMs);
  log.info('saved the state of a vm that has booted', { size_bytes: file.sizeBytes, duration_ms: took });
  return await cache.find(url);
}

/** By all that the state of a vm depends on: its devices, the files that it is made of, and this start of the machine. */
async function keyOf(blank: BlankOptions): Promise<string> {
  const { machine, kernelPath, initramfsPath } = blank;
  const without = { overlay: null, proxy: null, statePath: null, saveFolder: null, directory: '' };
  const command = machineCommand({ ...blank, ...without, ports: portNames, firstPort: 0 });
  // The name of an initramfs is a digest of what it is made of; its time is that of its last use.
  const key = createHash('sha256').update(JSON.stringify([form, machine.version, command.arguments, initramfsPath]));
  const paths = [await findTool(machine.emulator), machine.firmware, kernelPath];
  for (const path of paths.filter((path) => path !== null)) {
    const { size, mtimeMs } = await stat(path);
    key.update(`${path} ${size} ${mtimeMs}\n`);
  }
  return key.update(await readFile('/proc/sys/kernel/random/boot_id')).digest('hex');
}

type Note = 'wanted' | 'failed' | 'unfit';

async function isNoted(cache: FileCache, what: Note, key: string): Promise<boolean> {
  return (await cache.find(urlOf(what, key))) !== null;
}

async function note(cache: FileCache, what: Note, key: string): Promise<void> {
  const url = urlOf(what, key);
  const path = cache.partPath();
  await writeFile(path, url);
  await addOwnFile(cache, path, { url, sha256: digestOfKey(url), sizeBytes: url.length });
}

const urlOf = (what: Note | 'state', key: string) => `${what} ${key}`;
