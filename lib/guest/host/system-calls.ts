/**
 * The system calls that a host guest refuses to its scripts, as the `linux.seccomp` part of the OCI runtime
 * configuration (config-linux.md of the runtime specification): those that container engines refuse, and others that
 * only an attack on the kernel needs. A list of refusals, since a list of the 400 calls that are allowed takes 16 ms to
 * compile, for every script. Names and numbers are those of linux/*.h.
 */

interface Argument {
  readonly index: number;
  readonly value: number;
  readonly op: 'SCMP_CMP_EQ' | 'SCMP_CMP_NE' | 'SCMP_CMP_GT' | 'SCMP_CMP_MASKED_EQ';
  /** For MASKED_EQ: `value` is then the mask, and this the result. */
  readonly valueTwo?: number;
}

interface Rule {
  readonly names: readonly string[];
  readonly action: 'SCMP_ACT_ERRNO';
  readonly errnoRet: number;
  /** All of them must hold. */
  readonly args?: readonly Argument[];
}

/** asm-generic/errno.h. */
const errors = { EPERM: 1, ENOSYS: 38, EAFNOSUPPORT: 97 } as const;

const refused = [
  // Other namespaces, and mounts.
  ...['unshare', 'setns', 'mount', 'umount', 'umount2', 'pivot_root', 'mount_setattr', 'open_tree', 'move_mount'],
  ...['fsopen', 'fsconfig', 'fsmount', 'fspick', 'open_by_handle_at'],
  // Keys belong to the worker's user, whatever the namespaces.
  ...['keyctl', 'add_key', 'request_key'],
  // Large and young parts of the kernel, or parts that look into other processes.
  ...['io_uring_setup', 'io_uring_enter', 'io_uring_register', 'bpf', 'userfaultfd', 'perf_event_open', 'memfd_secret'],
  ...['ptrace', 'process_vm_readv', 'process_vm_writev', 'process_madvise', 'pidfd_getfd', 'kcmp', 'fanotify_init'],
  ...['mbind', 'set_mempolicy', 'get_mempolicy', 'move_pages', 'migrate_pages', 'lookup_dcookie'],
  // The machine itself.
  ...['init_module', 'finit_module', 'delete_module', 'create_module', 'query_module', 'get_kernel_syms'],
  ...['kexec_load', 'kexec_file_load', 'reboot', 'acct', 'swapon', 'swapoff', 'quotactl', 'quotactl_fd', 'nfsservctl'],
  ...['settimeofday', 'stime', 'clock_settime', 'syslog', 'vhangup'],
  ...['iopl', 'ioperm', 'modify_ldt', 'vm86', 'vm86old', 'sysfs', '_sysctl', 'uselib', 'ustat'],
];

/** CLONE_NEW… of linux/sched.h: mount, cgroup, UTS, IPC, user, PID and network namespaces. */
const namespaceFlags = [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];

/** AF_… of linux/socket.h. */
const families = { unix: 1, inet: 2, inet6: 10, netlink: 16 } as const;
const lowFamilies = Array.from({ length: families.netlink }, (_, family) => family);
const allowedFamilies: readonly number[] = [families.unix, families.inet, families.inet6];

const equal = (index: number, value: number): Argument => ({ index, value, op: 'SCMP_CMP_EQ' });
const masked = (index: number, mask: number, result: number): Argument => ({
  ...{ index, value: mask, valueTwo: result, op: 'SCMP_CMP_MASKED_EQ' },
});
const refuse = (name: string, errnoRet: number, ...args: readonly Argument[]): Rule => ({
  ...{ names: [name], action: 'SCMP_ACT_ERRNO', errnoRet, args },
});

const rules: readonly Rule[] = [
  { names: refused, action: 'SCMP_ACT_ERRNO', errnoRet: errors.EPERM },
  // The flags of clone3 lie in memory, where a filter cannot read them. Programs that get ENOSYS use clone instead.
  { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: errors.ENOSYS },
  ...namespaceFlags.map((flag) => refuse('clone', errors.EPERM, masked(0, flag, flag))),
  // The ioctls of loop devices (LOOP_…, 0x4Cxx), and those that push keystrokes into a terminal (TIOCSTI, TIOCLINUX).
  // The kernel ignores the upper half of the register, so the filter has to as well.
  refuse('ioctl', errors.EPERM, masked(1, 0xff00, 0x4c00)),
  ...[0x5412, 0x541c].map((command) => refuse('ioctl', errors.EPERM, masked(1, 0xffff_ffff, command))),
  // All families but these (of netlink, NETLINK_ROUTE) are refused: above all AF_VSOCK, AF_PACKET and AF_ALG. With this
  // error, programs that ask for the audit continue without it; with another they would give up.
  ...lowFamilies
    .filter((family) => !allowedFamilies.includes(family))
    .map((family) => refuse('socket', errors.EAFNOSUPPORT, equal(0, family))),
  refuse('socket', errors.EAFNOSUPPORT, equal(0, families.netlink), { index: 2, value: 0, op: 'SCMP_CMP_NE' }),
  refuse('socket', errors.EAFNOSUPPORT, { index: 0, value: families.netlink, op: 'SCMP_CMP_GT' }),
  refuse('socketpair', errors.EAFNOSUPPORT, { index: 0, value: families.unix, op: 'SCMP_CMP_NE' }),
];

/** Instruction sets of a processor, by its architecture; a call of any other set ends its process. */
const architectures: Readonly<Record<string, readonly string[]>> = {
  amd64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
};

/** The filter for a machine of this architecture. */
export function systemCallFilter(architecture: string): object {
  const names = architectures[architecture];
  return {
    defaultAction: 'SCMP_ACT_ALLOW',
    ...(names === undefined ? {} : { architectures: names }),
    syscalls: rules,
  };
}
