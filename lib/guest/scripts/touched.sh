# Goes on where seal.sh and the texts behind it end. Writes to file descriptor 4 the files of the image that were made or
# changed since it was opened and that dpkg did not put there, for touched-files.ts. $@ are the mount points of the image, or
# the one folder in which assemble.sh shows the changes of layers: these may have any number of files.
#   TYPE MODE SIZE PATH   TYPE is find's letter, MODE octal; in the order of the paths' bytes
#   more                  there are others, or some could not be looked at
# An empty line ends these; then come paths with line breaks, `TYPE MODE SIZE PATH` and a zero byte each, 256 KiB of them
# or none.
# Nothing is written where the image's find is not GNU's, which alone has -printf.
touched() {
  set +e
  opened=/run/imagebuilder-borrowed/opened
  made=/tmp/imagebuilder-touched
  newline='
'
  # Some file systems know whole seconds only: the second of the opening counts as after it.
  since=$(($(stat -c %Y "$opened") - 1)).999999999
  # A base image from a clock that is ahead has times to come.
  : >"$made.now"
  : >"$made.own"
  root=
  shown=%p
  hidden=-false
  if [ "$1" = /run/imagebuilder-changes ]; then
    root=$1
    shown=/%P
    # Whiteouts of overlayfs, which stand for files that were deleted.
    hidden='( -type c -perm 0 )'
  fi
  # shellcheck disable=SC2086 # several words
  find "$@" -xdev \( -path "$root/var/lib/apt" -o -path "$root/var/cache/apt" \) -prune -o \
    ! -type d -newerct "@$since" ! -cnewer "$made.now" ! $hidden \( \
    -path "$root/var/lib/dpkg/info/*.list" -type f -fprint "$made.lists" -o -path "$root/var/lib/dpkg/*" -o \
    -path "*$newline*" -fprintf "$made.odd" "%y %m %s $shown\\0" -o -printf "%y %m %s $shown\\n" \
    \) >"$made" 2>/dev/null
  code=$?
  [ -e "$made.lists" ] || return 0
  if [ -s "$made.odd" ] && [ "$(stat -c %s "$made.odd")" -gt 262144 ]; then
    code=1
    : >"$made.odd"
  fi

  # Packages name files by paths through these links.
  links=
  for folder in /bin /sbin /lib /lib32 /lib64 /libx32; do
    if [ -L "$folder" ] && [ "$folder" -ef "/usr$folder" ]; then links="$links $folder"; fi
  done
  sort -u -k 4 "$made" | awk -v links="$links" -v made="$made" -v code="$code" -v root="$root" '
    # 20,000 lines or 3 MiB.
    function show(line) {
      bytes += length(line) + 1
      if (++count > 20000 || bytes > 3145728) return 0
      print line
      return 1
    }
    function real(path) {
      match(path, /^\/[^\/]*/)
      return (substr(path, 1, RLENGTH) in linked) ? "/usr" path : path
    }
    BEGIN {
      count = split(links, tops, " ")
      for (i = 1; i <= count; i++) linked[tops[i]] = 1
      count = 0
      # The lists of files of the packages that dpkg has unpacked meanwhile.
      while ((getline list < (made ".lists")) > 0) {
        while ((getline path < list) > 0) known[real(path)] = 1
        close(list)
      }
      while ((getline path < "/var/lib/dpkg/diversions") > 0) known[path] = 1
      # Lent for the time of the build.
      while ((getline line < "/run/imagebuilder-borrowed/list") > 0) {
        path = real(substr(line, index(line, " ") + 1))
        known[path] = known[path ".imagebuilder"] = 1
      }
      known[(policy = "/usr/sbin/policy-rc.d") ".imagebuilder"] = 1
      if ((getline line < policy) > 0 && line == "#!/bin/sh" && (getline line < policy) > 0 && line == "exit 101") known[policy] = 1
      # Put back by seal.sh.
      while ((getline line < (ENVIRON["JOB"] "/before")) > 0) {
        split(line, words, " ")
        if (words[1] == "identity") known[words[2]] = 1
        if (words[1] == "log") size[substr(line, length(words[2]) + 6)] = words[2]
      }
    }
    {
      path = substr($0, length($1 $2 $3) + 4)
      # For own-files.sh: one more than it may have says that there are too many.
      if ($1 == "f" && $3 <= 262144 && path ~ /^\/(etc|home|opt|root|srv|usr\/local|var\/(lib|opt|www))\// && ++own <= 2001) print root path >(made ".own")
      if (path in known || (path in size && size[path] == $3)) next
      if (!show($0)) { code = 1; exit }
    }
    END {
      if (code != 0) {
        print "more"
        # No file, so that own-files.sh does not say that it has read all.
        print "/" >(made ".own")
      }
      print ""
    }' >&4
  [ ! -s "$made.odd" ] || cat "$made.odd" >&4
}
(touched "$@") || :
