import { assemblyError, renderStack } from '../assembly.ts';
import { type MountingKernel, mountFailure } from '../mount-failure.ts';
import { mountArguments, type Stack } from '../stack.ts';
import {
  type Attachment,
  type AttachOptions,
  assemble,
  deviceOf,
  failedPartition,
  readDisks,
  readErrorCount,
  stageArguments,
} from './attach.ts';
import { vmScripts } from './script.ts';

/** Mounts the layers of a live medium in the vm, one above the other, as the root of what runs inside. */
export async function attachStack(
  stack: Stack,
  options: Pick<AttachOptions, 'architecture' | 'kernel' | 'binds' | 'processes' | 'run'>,
): Promise<Attachment> {
  const { kernel, processes, run } = options;
  const mounting: MountingKernel = { guest: 'vm', release: kernel.release };
  const { stdout } = await run({ name: 'stage', text: vmScripts.stage, arguments: stageArguments(processes) });
  const numbers = readDisks(stdout);
  const partitions = [...stack.layers, stack.scratch];
  const devices = partitions.map((partition) => ({ partition, ...deviceOf(numbers, partition) }));
  const mounts = partitions.map((partition) => [partition.number, ...mountArguments(partition)].join(' '));
  const output = await assemble(mounts, (binds) => renderStack(stack, devices, binds), options).catch(
    (error: unknown) => {
      const partition = failedPartition(error, partitions);
      throw partition === undefined ? assemblyError(error) : mountFailure(partition, mounting, error);
    },
  );
  return { mounted: ['/'], notMounted: [], errorCount: readErrorCount(output) };
}
