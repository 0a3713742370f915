import { ImageBuilderError } from '../errors.ts';
import { unescapeOctal } from './octal.js';
import type { FileSystemType, Partition } from './partition.ts';

/** Finds the roles of partitions: by label and type, never by number, since numbers differ from series to series. */

/** Root partitions by architecture: UAPI Group's Discoverable Partitions Specification. */
const rootTypes: readonly string[] = [
  '4f68bce3-e8cd-4db1-96e7-fbcaf984b709', // x86-64
  'b921b045-1df0-41c3-af44-4c6f280d3fae', // arm64
  '69dad710-2ce4-4e3c-b16c-21a1d49abed3', // arm
  '44479540-f297-41b2-9af7-d131d5f0458a', // x86
  '72ec70a6-cf74-40e6-bd49-4bda08e8f224', // riscv64
  'c31c45e6-3f39-412e-80fb-4809c4980599', // ppc64el
  '5eead9a9-fe09-4a1e-a1d7-520d00531306', // s390x
  '77055800-792c-4f94-b39a-98c91b762bb6', // loongarch64
];
const linuxData: readonly (string | null)[] = ['0fc63daf-8483-4772-8e79-3d69d8477de4', 'mbr:83', null];
const rootFileSystems: readonly FileSystemType[] = ['ext2', 'ext3', 'ext4', 'xfs', 'btrfs'];
/** Labels of partitions beside a root file system. */
const notRoot = /^(boot|\/boot|efi|uefi|esp|home|var|srv|swap|data)$/i;

/** The partitions whose file system may be a root. */
export function rootCandidates(partitions: readonly Partition[]): Partition[] {
  return partitions.filter(({ fileSystem }) => fileSystem !== null && rootFileSystems.includes(fileSystem.type));
}

/**
 * The partition that is most likely the root: the one labelled `cloudimg-rootfs`, else that of a root type, else the one
 * whose label or name contains "root", else the only Linux file system that is not another partition's by its label. Null
 * where none or more than one fits: then only their content tells.
 */
export function guessRoot(partitions: readonly Partition[]): Partition | null {
  const called = (partition: Partition) => [partition.fileSystem?.label ?? '', partition.name ?? ''];
  const rules: readonly ((partition: Partition) => boolean)[] = [
    (partition) => partition.fileSystem?.label === 'cloudimg-rootfs',
    ({ type }) => type !== null && rootTypes.includes(type),
    (partition) => called(partition).some((name) => /root/i.test(name)),
    (partition) => linuxData.includes(partition.type) && !called(partition).some((name) => notRoot.test(name)),
  ];
  for (const rule of rules) {
    const [found, ...more] = rootCandidates(partitions).filter(rule);
    if (found !== undefined) return more.length === 0 ? found : null;
  }
  return null;
}

/** Contents that may hold a root which no guest opens, and their names for users. */
const foreignRoots: Readonly<Partial<Record<FileSystemType, string>>> = {
  ...{ lvm: 'an LVM physical volume', luks: 'an encrypted volume (LUKS)', mdraid: 'a member of a RAID (mdraid)' },
  ...{ zfs: 'a member of a ZFS pool', f2fs: 'F2FS', bcachefs: 'bcachefs', bcache: 'a bcache device', jfs: 'JFS' },
  ...{ reiserfs: 'ReiserFS', nilfs2: 'NILFS2', erofs: 'EROFS', squashfs: 'SquashFS', ntfs: 'NTFS', ufs: 'UFS' },
  ...{ bitlocker: 'an encrypted volume (BitLocker)', hfsplus: 'HFS+', exfat: 'exFAT', stratis: 'a Stratis pool' },
};

/** `image.unsupported`: no partition holds a root that can be opened. Names those that may hold it all the same. */
export function noRoot(partitions: readonly Partition[]): ImageBuilderError {
  const foreign = partitions.flatMap(({ number, fileSystem }) => {
    const name = fileSystem === null ? undefined : foreignRoots[fileSystem.type];
    return name === undefined ? [] : [`${number === 0 ? 'the whole disk' : `partition ${number}`} holds ${name}`];
  });
  const faulty = partitions.flatMap(({ number, fileSystem }) =>
    fileSystem?.fault === undefined ? [] : [`${fileSystem.type} of partition ${number}: ${fileSystem.fault}`],
  );
  const advice = foreign.length === 0 ? '' : ': give an image whose root is such a file system, on a plain partition';
  const elsewhere = [...foreign, ...faulty].join(', ');
  const why = elsewhere === '' ? '' : `; ${elsewhere}, which cannot be changed here${advice}`;
  return new ImageBuilderError(
    'image.unsupported',
    `the image has no root partition that can be opened (ext2 to ext4, xfs or btrfs)${why}. Its partitions: ${describePartitions(partitions)}`,
  );
}

/** The partitions in one line, for messages. */
export function describePartitions(partitions: readonly Partition[]): string {
  if (partitions.length === 0) return 'it has no partitions and no file system that is known here';
  return partitions
    .map(({ number, sizeBytes, type, name, fileSystem }) => {
      const content = fileSystem === null ? 'no known file system' : fileSystem.type;
      const label = fileSystem?.label ?? name;
      const labelled = label === null ? '' : ` ${JSON.stringify(label)}`;
      const where = number === 0 ? 'the whole disk' : `partition ${number}`;
      const typed = fileSystem === null && type !== null ? ` of type ${type}` : '';
      return `${where}: ${content}${labelled}${typed}, ${Math.ceil(sizeBytes / 2 ** 20)} MiB`;
    })
    .join('; ');
}

/**
 * Names of the first disk's partitions by the drivers of clouds and virtual machines, with the number of the partition;
 * none where the name is that of the whole disk. udev's links by-id and by-path name the disk of one machine.
 */
const firstDisk = /^\/dev\/(?:(?:[hsv]d|xvd)a([0-9]{0,3})|(?:nvme0n1|mmcblk0|pmem0)(?:p([0-9]{1,3}))?)$/;

const specification = /^(?:\/dev\/disk\/by-(label|uuid|partuuid|partlabel)\/|(LABEL|UUID|PARTUUID|PARTLABEL)=)(.+)$/;

/**
 * The partition that the first field of an fstab line means: `LABEL=`, `UUID=`, `PARTUUID=`, `PARTLABEL=` (quoted or
 * not), the same by /dev/disk/by-…, or a name such as /dev/vda2, whose number is that of the partition: the image's disk
 * is the first one where it boots. Null where none or more than one fits, and for every other field.
 */
export function matchFstabSpec(spec: string, partitions: readonly Partition[]): Partition | null {
  const [found, ...more] = matchesOfFstabSpec(spec, partitions);
  return more.length === 0 ? (found ?? null) : null;
}

/** All partitions that it may mean. */
export function matchesOfFstabSpec(spec: string, partitions: readonly Partition[]): readonly Partition[] {
  const match = specification.exec(spec);
  if (match === null) return byNumber(spec, partitions);
  const tag = (match[1] ?? match[2] ?? '').toUpperCase();
  const wanted = unescapeSpec(match[3] ?? '', match[1] !== undefined);
  const sameUuid = (uuid: string | null | undefined) => uuid?.toLowerCase() === wanted.toLowerCase();
  const fits = ({ fileSystem, partitionUuid, name }: Partition): boolean => {
    switch (tag) {
      case 'LABEL':
        return fileSystem?.label === wanted;
      case 'UUID':
        return sameUuid(fileSystem?.uuid);
      case 'PARTUUID':
        return sameUuid(partitionUuid);
      default:
        return name === wanted;
    }
  };
  return partitions.filter(fits);
}

function byNumber(spec: string, partitions: readonly Partition[]): readonly Partition[] {
  const isLink = /^\/dev\/disk\/(?:by-(?:id|path)\/|(?:azure|cloud)\/(?:azure_)?(?:root|os)\b)/.test(spec);
  const link = isLink ? /-part([0-9]{1,3})$/.exec(spec.slice(-9)) : null;
  const named = firstDisk.exec(spec) ?? link;
  if (named === null) return [];
  const number = Number(named[1] || named[2] || 0);
  return partitions.filter((partition) => partition.number === number);
}

/** fstab writes blanks in octal (fstab(5)) and may quote the value; udev writes them as \x20 in its links. */
function unescapeSpec(text: string, isLink: boolean): string {
  const decoded = unescapeOctal(text);
  if (isLink)
    return decoded.replace(/\\x([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const quote = decoded[0] ?? '';
  const quoted = (quote === '"' || quote === "'") && decoded.length > 1 && decoded.endsWith(quote);
  return quoted ? decoded.slice(1, -1) : decoded;
}
