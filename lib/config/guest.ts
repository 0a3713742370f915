import { z } from 'zod';
import { bytes, folder, MiB, wholeNumber, yesNo } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** The guest that opens images. */
export const guestSettings = {
  guest: setting(
    'IMAGEBUILDER_GUEST',
    z.enum(['auto', 'host', 'vm'], { error: 'must be auto, host or vm' }),
    'auto',
    'Guest that opens images. `vm` is a small virtual machine: it needs no privileges, and is slow without KVM. `host` mounts images: it needs root, and trusts every base image and package with root on the worker. `auto` takes `vm`.',
  ),
  guestMemoryBytes: setting(
    'IMAGEBUILDER_GUEST_MEMORY',
    bytes.refine((size) => size >= 64 * MiB, { error: 'must be at least 64M' }),
    '1536M',
    'Memory limit for all package scripts together in the `host` guest; a build that exceeds it fails. The `vm` guest has `IMAGEBUILDER_VM_MEMORY`.',
  ),
  guestProcesses: setting(
    'IMAGEBUILDER_GUEST_PROCESSES',
    wholeNumber.refine((count) => count >= 64, { error: 'must be at least 64' }),
    '2048',
    'Limit for processes and threads inside an image, in both guests; a build that exceeds it fails.',
  ),
  guestCpus: setting(
    'IMAGEBUILDER_GUEST_CPUS',
    z
      .string()
      .regex(/^([0-9]+(\.[0-9]+)?)?$/, { error: 'must be a number such as 1.5' })
      .transform((text) => (text === '' ? null : Number(text)))
      .refine((count) => count === null || count >= 0.05, { error: 'must be at least 0.05' }),
    '',
    'CPU limit for package scripts in the `host` guest, such as `1.5`: they are slowed down to that. Empty: no limit.',
  ),
  vmMemoryBytes: setting(
    'IMAGEBUILDER_VM_MEMORY',
    bytes.refine((size) => size >= 256 * MiB, { error: 'must be at least 256M' }),
    '768M',
    'Memory of the virtual machine; QEMU itself takes up to 400 MiB more.',
  ),
  vmSwapBytes: setting(
    'IMAGEBUILDER_VM_SWAP',
    bytes,
    '1G',
    'Swap space of the virtual machine, in the work directory; every build reserves it. 0: none.',
  ),
  vmCpus: setting(
    'IMAGEBUILDER_VM_CPUS',
    z
      .string()
      .regex(/^(0*([1-9]|[1-5][0-9]|6[0-4]))?$/, { error: 'must be a whole number from 1 to 64' })
      .transform((text) => (text === '' ? null : Number(text))),
    '',
    'Processors of the virtual machine. Empty: two; one where fewer are free when it starts, since two emulated ones that share a processor wait for each other.',
  ),
  vmNetwork: setting(
    'IMAGEBUILDER_VM_NETWORK',
    yesNo,
    'false',
    'Whether package scripts in the virtual machine reach the network: by http and https through the worker’s proxy, under the egress rules, and in no other way.',
  ),
  vmKernelPath: setting(
    'IMAGEBUILDER_VM_KERNEL',
    z.union([z.literal(''), folder]),
    '',
    'Path of the Linux kernel of the virtual machine, its modules in /lib/modules. Empty: the newest in /boot.',
  ),
} as const satisfies Declarations;

export type GuestSettings = SettingsOf<typeof guestSettings>;
