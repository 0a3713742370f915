# Mounts an overlay whose layers are idmapped mounts, as root of a container: the kernel works on them as who has mounted
# the overlay, and an id without a place in the map could make no file there.
# Arguments: the id of root in the map, the mount point, and mount options. The folder that is current counts for paths.
use strict;
use warnings;
use POSIX;

my ($first, $target, $options) = @ARGV;
# x86-64's syscall_64.tbl, asm-generic/unistd.h: prctl, setfsuid, setfsgid, mount.
my $machine = (POSIX::uname())[4];
my %numbers = (x86_64 => [157, 122, 123, 165], aarch64 => [167, 151, 152, 40]);
my ($prctl, $setfsuid, $setfsgid, $mount) = @{$numbers{$machine} or die "$machine is not known\n"};
# linux/prctl.h, linux/securebits.h: all capabilities stay with the other id.
my ($set_securebits, $no_setuid_fixup) = (28, 4);
syscall($prctl, $set_securebits, $no_setuid_fixup, 0, 0, 0) == 0 or die "prctl: $!\n";
syscall($setfsgid, $first + 0);
syscall($setfsuid, $first + 0);
# linux/mount.h: MS_NODEV, MS_NOATIME.
my $flags = 4 | 1024;
my $type = "overlay";
syscall($mount, $type, $target, $type, $flags, $options) == 0 or die "overlay: $!\n";
