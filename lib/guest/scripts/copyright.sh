# Goes on where touched.sh ends. Writes a zero byte to file descriptor 4, and then the copyright files of the image's
# packages, for copyright-files.ts. In front of each, head writes a line with its path: ==> /usr/share/doc/NAME/copyright <==
# Pipes, devices and the files of /proc, which have no size, could keep this waiting. At most 512 KiB each, and 32 MiB in
# all. Sending all of their text took half as long in an emulated vm as looking for the lines that matter: 0.25 s, 0.5 s.
(
  printf '\0'
  find -L /usr/share/doc/*/copyright -prune -type f -size +0c -size -524289c -exec head -v -c 524288 {} + 2>/dev/null |
    head -c 33554432
) >&4 || :
