# Makes a user namespace in which programs for another processor run by an emulator, and prints the id of the process that
# holds it. Only programs of that namespace do: since Linux 6.7, each user namespace has registrations of its own
# (binfmt_misc), which end with it.
# Arguments: the id of root in the map, and a line as in the kernel's Documentation/admin-guide/binfmt-misc.rst.
# By system calls: a program that is started after the map would have lost its capabilities.
use strict;
use warnings;
use POSIX;

my ($first, $line) = @ARGV;
# x86-64's syscall_64.tbl, asm-generic/unistd.h: unshare, mount.
my $machine = (POSIX::uname())[4];
my %numbers = (x86_64 => [272, 165], aarch64 => [97, 40]);
my ($unshare, $mount) = @{$numbers{$machine} or die "$machine is not known\n"};

pipe(my $told, my $tell) and pipe(my $waited, my $go) or die "pipe: $!\n";
defined(my $holder = fork) or die "fork: $!\n";
if ($holder == 0) {
  POSIX::setsid();
  # linux/sched.h: CLONE_NEWUSER, CLONE_NEWNS.
  syscall($unshare, 0x1000_0000 | 0x2_0000) == 0 or die "no user namespace can be made: $!\n";
  syswrite $tell, "made\n";
  sysread($waited, my $mapped, 1) or exit 1;
  POSIX::setgid(0) and POSIX::setuid(0) or die "setuid: $!\n";
  my ($type, $place, $none) = ("binfmt_misc", "/proc/sys/fs/binfmt_misc", "");
  syscall($mount, $type, $place, $type, 0, $none) == 0
    or die "this kernel has no binfmt_misc of a user namespace, as Linux 6.7 has: $!\n";
  open(my $register, ">", "$place/register") or die "binfmt_misc: $!\n";
  syswrite($register, $line) or die "binfmt_misc refuses the emulator: $!\n";
  close $register;
  syswrite $tell, "ready\n";
  close $_ for $tell, *STDIN, *STDOUT, *STDERR;
  sleep while 1;
}
close $tell;
defined readline $told or die "\n";
for my $map ("uid_map", "gid_map") {
  open(my $file, ">", "/proc/$holder/$map") or die "$map: $!\n";
  print $file "0 $first 65536";
  close $file or die "$map: $!\n";
}
syswrite $go, "\n";
defined readline $told or die "\n";
print "$holder\n";
