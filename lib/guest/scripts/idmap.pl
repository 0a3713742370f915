# Puts an idmapped copy in the place of mounts, on the worker's side of the namespaces and while nothing uses them: a
# file of id N in the file system belongs to id FIRST + N for processes, and the other way round.
# Arguments: FIRST, and mount points. Changes nothing where it fails, and says why.
# By system calls, since mount(8) has X-mount.idmap only from util-linux 2.39 on, and by perl, which perl-base brings to
# every Debian and Ubuntu.
use strict;
use warnings;
use Errno;

# asm-generic/unistd.h and x86-64's syscall_64.tbl have the same numbers for these.
my ($open_tree, $move_mount, $mount_setattr) = (428, 429, 442);
# linux/fcntl.h, linux/mount.h. O_CLOEXEC is the same on x86-64 and arm64.
my ($at_fdcwd, $at_empty_path, $open_tree_clone, $cloexec) = (-100, 0x1000, 1, 0x80000);
my ($mount_attr_idmap, $move_mount_from_empty_path) = (0x100000, 4);

my ($first, @mounts) = @ARGV;
my $empty = "";

# struct mount_attr: attr_set, attr_clr, propagation, userns_fd; 64 bits each.
sub set_map {
  my ($mount, $namespace) = @_;
  my $attributes = pack("Q4", $mount_attr_idmap, 0, 0, $namespace);
  return syscall($mount_setattr, $mount, $empty, $at_empty_path, $attributes, length $attributes) == 0;
}

# A user namespace with the map, which lasts as long as a process is in it or a file descriptor on it is open.
my $holder = open(my $output, "-|", "unshare", "--user", "sh", "-c", "echo; exec sleep 60") or die "unshare: $!\n";
defined readline $output or die "no user namespace can be made\n";
for my $map ("uid_map", "gid_map") {
  open(my $file, ">", "/proc/$holder/$map") or die "$map: $!\n";
  print $file "0 $first 65536";
  close $file or die "$map: $!\n";
}
open(my $namespace, "<", "/proc/$holder/ns/user") or die "$!\n";
kill "KILL", $holder;

set_map(-1, fileno $namespace);
$!{EBADF} or die "idmapped mounts are refused: $!\n";

my %copies;
for my $path (@mounts) {
  my $copy = syscall($open_tree, $at_fdcwd, $path, $open_tree_clone | $cloexec);
  $copy >= 0 or die "open_tree: $!\n";
  set_map($copy, fileno $namespace) or die "a file system has no idmapped mounts: $!\n";
  $copies{$path} = $copy;
}
for my $path (@mounts) {
  system("umount", $path) == 0 or die "umount fails\n";
  syscall($move_mount, $copies{$path}, $empty, $at_fdcwd, $path, $move_mount_from_empty_path) == 0
    or die "move_mount: $!\n";
}
