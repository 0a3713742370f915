import { access, constants, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf } from '../../errors.ts';
import { type IdRange, newUnprivilegedUser } from '../../privileges.ts';
import type { Accelerator, Machine } from './machine.ts';
import { openPayload } from './payload.ts';
import { startVm } from './vm.ts';
import { kvmDevice, kvmGroups, vmUser } from './vm-user.ts';

/** Whether KVM works here. It is tried, since a /dev/kvm may exist on which no guest ever starts. */
export interface AcceleratorChoice {
  readonly accelerator: Accelerator;
  /** The reason, for logs and for people. */
  readonly reason: string;
}

export interface AcceleratorProbe {
  readonly machine: Machine;
  readonly kernelPath: string;
  readonly initramfsPath: string;
  /** Folder in which the verdict is kept. */
  readonly directory: string;
  /** The user ids for QEMU where this process is root. */
  readonly unprivilegedIds: IdRange;
}

/** A guest that KVM runs is ready in well under a second. */
const startLimitMs = 10_000;
const memoryBytes = 256 * 1024 ** 2;
/** Age at which a verdict against KVM is checked again: milliseconds. */
const refusalMs = 24 * 60 * 60 * 1000;

const verdictSchema = z.object({
  key: z.string(),
  time: z.number(),
  accelerator: z.enum(['kvm', 'tcg']),
  reason: z.string().max(1000),
});
type Verdict = z.output<typeof verdictSchema>;

const verdicts = new Map<string, Promise<Verdict>>();

/** Tries KVM once per process, and once per start of this machine and its versions of kernels and QEMU. */
export async function chooseAccelerator(probe: AcceleratorProbe): Promise<AcceleratorChoice> {
  const usable = await access(kvmDevice, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!usable) return { accelerator: 'tcg', reason: `${kvmDevice} cannot be opened` };
  if (newUnprivilegedUser(probe.unprivilegedIds) !== null && kvmGroups() === null) {
    return { accelerator: 'tcg', reason: `${kvmDevice} is only for root, as which QEMU does not run: give it a group` };
  }
  const bootId = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  const key = [release(), bootId.trim(), probe.machine.version, probe.initramfsPath].join(' ');
  const known = verdicts.get(key) ?? askOrTry(probe, key);
  verdicts.set(key, known);
  return await known;
}

async function askOrTry(probe: AcceleratorProbe, key: string): Promise<Verdict> {
  const path = join(probe.directory, 'accelerator.json');
  const kept = verdictSchema.safeParse(await readFile(path, 'utf8').then(parseJson, () => null));
  if (kept.success && kept.data.key === key) {
    if (kept.data.accelerator === 'kvm' || kept.data.time > Date.now() - refusalMs) return kept.data;
  }
  const verdict = { key, time: Date.now(), ...(await tryKvm(probe)) };
  const temporary = `${path}.${process.pid}`;
  await mkdir(probe.directory, { recursive: true });
  await writeFile(temporary, JSON.stringify(verdict));
  await rename(temporary, path);
  return verdict;
}

async function tryKvm(probe: AcceleratorProbe): Promise<AcceleratorChoice> {
  await mkdir(probe.directory, { recursive: true });
  const directory = await mkdtemp(join(probe.directory, 'probe-'));
  try {
    await using payload = await openPayload(directory);
    const { machine, kernelPath, initramfsPath } = probe;
    const disks = [{ source: { rawPath: payload.path, readOnly: true }, serial: 'payload' }];
    const options = {
      machine,
      kernelPath,
      initramfsPath,
      memoryBytes,
      cpus: 1,
      overlay: null,
      proxy: null,
      disks,
      statePath: null,
      saveFolder: null,
      directory,
      user: vmUser(probe.unprivilegedIds, 'kvm'),
      // It runs no script.
      limits: { vmMemoryBytes: memoryBytes, vmSwapBytes: 0, guestProcesses: 0 },
    };
    const signal = new AbortController().signal;
    await using _ = await startVm({ ...options, accelerator: 'kvm' }, startLimitMs, signal);
    return { accelerator: 'kvm', reason: 'a guest starts with KVM' };
  } catch (error) {
    return {
      accelerator: 'tcg',
      reason: `${kvmDevice} is there, but no guest starts with it: ${messageOf(error)}`,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
