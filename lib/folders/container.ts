import { existsSync, readlinkSync } from 'node:fs';

/** The kernel's fixed number of the PID namespace that a machine boots with: PROC_PID_INIT_INO, linux/proc_ns.h. */
const initialNamespace = 'pid:[4026531836]';

/**
 * Whether this process is in a container of one program, such as a pod: it has a PID namespace of its own in which no
 * init system was booted (sd_booted(3)). Such a container has no other users.
 */
export function isInContainer(): boolean {
  try {
    return readlinkSync('/proc/self/ns/pid') !== initialNamespace && !existsSync('/run/systemd/system');
  } catch {
    return false;
  }
}
