import { access, constants, stat } from 'node:fs/promises';
import { isNodeError } from '../errors.ts';
import type { Finding } from './finding.ts';

/** The kernel's devices by which images may be opened. The guests try whether that works. */

const devices = [
  { what: 'loop devices', path: '/dev/loop-control', use: 'the host guest needs them' },
  { what: 'FUSE', path: '/dev/fuse', use: 'the host guest needs it' },
  { what: 'nbd', path: '/dev/nbd0', use: 'no guest needs it' },
] as const;

export async function lookAtDevices(): Promise<Finding[]> {
  return await Promise.all(
    devices.map(async ({ what, path, use }) => ({
      what,
      ok: true,
      detail: `${describeDevice(path, await lookAtDevice(path))}; ${use}`,
    })),
  );
}

/** Whether this process can open a device for reading and writing; where it cannot, the device's owner. */
export type DeviceState =
  | { readonly state: 'usable' }
  | { readonly state: 'missing' }
  | { readonly state: 'refused'; readonly group: number; readonly mode: string };

export async function lookAtDevice(path: string): Promise<DeviceState> {
  try {
    await access(path, constants.R_OK | constants.W_OK);
    return { state: 'usable' };
  } catch (error) {
    if (isNodeError(error) && error.code === 'ENOENT') return { state: 'missing' };
    const { gid, mode } = await stat(path);
    return { state: 'refused', group: gid, mode: (mode & 0o777).toString(8) };
  }
}

export function describeDevice(path: string, device: DeviceState): string {
  if (device.state === 'usable') return `${path} can be opened`;
  if (device.state === 'missing') return `there is no ${path}`;
  return `${path} cannot be opened by this user (it belongs to group ${device.group}, mode ${device.mode})`;
}
