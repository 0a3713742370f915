import { createHmac } from 'node:crypto';
import { espType, type Partition } from './partition.ts';

/**
 * Partitions that systemd mounts by their types alone: UAPI Group's Discoverable Partitions Specification, as
 * systemd-gpt-auto-generator(8) follows it.
 */

const types = {
  esp: espType,
  xbootldr: 'bc13c2ff-59e6-4262-a352-b275fd6f7172',
  home: '933ac7e1-2eb4-4f13-b844-0e14e2aef915',
  srv: '3b8f8425-20e0-4f3b-907f-1a25a76f98e8',
  var: '4d21b016-b534-45c2-a9fb-5c16e091fd2d',
} as const;

/** By architecture, as the types of roots. */
const usrTypes: readonly string[] = [
  '8484680c-9521-48c6-9c11-b0720656f69e', // x86-64
  'b0e01050-ee5f-4390-949a-9101b17104e9', // arm64
  '7d0359a3-02b3-4f0a-865c-654403e70625', // arm
  '75250d76-8cc6-458e-bd66-bd47cc81a812', // x86
  'beaec34b-8442-439b-a40b-984381ed097d', // riscv64
];

export interface DiscoverOptions {
  /** Numbers of partitions that the image mounts by itself. */
  readonly taken: ReadonlySet<number>;
  /** Whether folders of the root are empty, by path without a leading slash; missing folders are left out. */
  readonly folders?: ReadonlyMap<string, 'empty' | 'full'>;
  readonly machineId?: string | null;
}

/** The partitions, and where they are mounted: the first of each type, and only where that hides no file. */
export function discoverPartitions(
  partitions: readonly Partition[],
  { taken, folders = new Map(), machineId = null }: DiscoverOptions,
): { readonly partition: Partition; readonly target: string }[] {
  const free = partitions.filter(({ number, noAuto }) => !taken.has(number) && noAuto !== true);
  const ofType = (type: string) => free.find((partition) => partition.type === type);
  const found: { partition: Partition; target: string }[] = [];
  const add = (partition: Partition | undefined, folder: string) => {
    if (partition !== undefined && folders.get(folder) !== 'full') found.push({ partition, target: `/${folder}` });
  };
  add(
    free.find(({ type }) => type !== null && usrTypes.includes(type)),
    'usr',
  );
  add(ofType(types.xbootldr), 'boot');
  const hasXbootldr = partitions.some(({ type }) => type === types.xbootldr);
  if (folders.has('efi')) add(ofType(types.esp), 'efi');
  else if (!hasXbootldr) add(ofType(types.esp), 'boot');
  add(ofType(types.home), 'home');
  add(ofType(types.srv), 'srv');
  const ofVar = ofType(types.var);
  if (ofVar !== undefined && machineId !== null && ofVar.partitionUuid === uuidOfVar(machineId)) add(ofVar, 'var');
  return found;
}

/** The GUID of the /var that belongs to a machine: sd_id128_get_machine_app_specific(3) of the type. */
function uuidOfVar(machineId: string): string {
  const type = Buffer.from(types.var.replaceAll('-', ''), 'hex');
  const digest = createHmac('sha256', Buffer.from(machineId, 'hex')).update(type).digest().subarray(0, 16);
  digest.writeUInt8((digest.readUInt8(6) & 0x0f) | 0x40, 6);
  digest.writeUInt8((digest.readUInt8(8) & 0x3f) | 0x80, 8);
  return digest.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
