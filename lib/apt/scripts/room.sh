# Prints the room on the file systems that packages lie in, in KiB, for lib/apt/room.ts. coreutils before 8.21 cannot.
export LC_ALL=C
df -k --output=source,size,used,avail,itotal,iavail,target / /usr /var /boot /opt /srv 2>/dev/null |
  while read -r line; do echo "room $line"; done
