# Rewrites the capabilities of files as the kernel writes them without a user namespace and an id map: in the second
# revision of their format, which every kernel reads. Those set inside are of the third revision, with 0 as the id of
# root. They mean the same, but only to Linux 4.14 and later (capabilities(7), File capability extended attribute
# versioning). Only for files of packages that were installed or upgraded: reading every file would take seconds.
# Runs on the worker's side, after all processes of the image. Arguments: the mount point of the image's root, the
# second from which changes count, and the worker's architecture, such as amd64.
use strict;
use warnings;
use Fcntl;

my ($root, $since, $architecture) = @ARGV;
# x86-64's syscall_64.tbl, asm-generic/unistd.h.
my %numbers = (amd64 => [189, 192], arm64 => [6, 9]);
my ($lsetxattr, $lgetxattr) = @{$numbers{$architecture} or die "$architecture is not known\n"};
# Bytes of lists that are read. All of texlive-full's have a third of that.
my $left = 32 << 20;

# From here on, every path and link leads into the image, of which no code is to be loaded.
@INC = ();
chroot $root and chdir "/" or die "chroot: $!\n";
my $folder = "/var/lib/dpkg/info";
opendir(my $names, $folder) or exit;
while (defined(my $name = readdir $names)) {
  next unless $name =~ /\.list\z/;
  sysopen(my $list, "$folder/$name", O_RDONLY | O_NOFOLLOW | O_NONBLOCK) or next;
  my ($size, $modified) = (stat $list)[7, 9];
  next unless -f $list and $modified >= $since;
  $left -= $size;
  last if $left < 0;
  my $text = do { local $/; <$list> } // "";
  while ($text =~ /([^\n]+)/g) {
    my $path = $1;
    my ($attribute, $value) = ("security.capability", "\0" x 32);
    my $size = syscall($lgetxattr, $path, $attribute, $value, length $value);
    next if $size <= 0;
    $value = substr $value, 0, $size;
    syscall($lsetxattr, $path, $attribute, $value, $size, 0) == 0 or die "$path: error ", $! + 0, "\n";
  }
}
