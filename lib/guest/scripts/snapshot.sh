# Prints the files of an image that installing packages leaves behind without need, and those that identify a
# machine: one line each, kind first. Runs before and after the changes; seal.sh acts on the difference. identities.sh and
# the text that a kind of image adds follow it (SealPart in seal.ts).
export LC_ALL=C
# Output without its first line is not whole.
echo begin

# Folders of the worker may lie over these two; their files are not the image's.
lists='' cache=''
while read -r _id _parent _device _root target _rest; do
  case $target in
    /var/lib/apt/lists) lists=covered ;;
    /var/cache/apt) cache=covered ;;
  esac
done </proc/self/mountinfo

# there PATH: goes when it is new.
for path in \
  /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid- \
  /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /var/lib/urandom/random-seed \
  /var/lib/dpkg/*-old /var/lib/dpkg/lock* /var/cache/debconf/*-old \
  /var/lib/apt/daily_lock /var/lib/apt/lists/* /var/lib/apt/lists/partial/* \
  /var/cache/apt/*.bin /var/cache/apt/archives/* /var/cache/apt/archives/partial/* \
  /var/lib/cloud/instance /var/lib/cloud/instances/* /var/lib/cloud/data/* /var/lib/cloud/sem/* \
  /var/log/apt/* /var/log/dpkg.log /var/log/alternatives.log /var/log/fontconfig.log \
  /var/tmp/* /var/tmp/.[!.]* /var/crash/* \
  /root/.bash_history /root/.wget-hsts /root/.lesshst /root/.viminfo /root/.rnd /root/.gnupg /root/.cache; do
  [ -e "$path" ] || [ -L "$path" ] || continue
  case $path in
    /var/lib/apt/lists/*) [ -z "$lists" ] || continue ;;
    /var/cache/apt/*) [ -z "$cache" ] || continue ;;
  esac
  echo "there $path"
done

# log SIZE PATH: shrinks back to that size. Only GNU's find has -printf; a line that comes twice counts once.
find /var/log -xdev -type f -printf 'log %s %p\n' 2>/dev/null || find /var/log -xdev -type f -exec stat -c 'log %s %n' {} +

# identity PATH none | link TARGET | text TEXT: is put back as it was.
for path in /etc/machine-id /var/lib/dbus/machine-id; do
  if [ -L "$path" ]; then
    echo "identity $path link $(readlink "$path")"
  elif [ -f "$path" ] && [ ! -s "$path" ]; then
    echo "identity $path text "
  elif [ -f "$path" ]; then
    echo "identity $path text $(head -c 100 "$path" | { read -r text || :; echo "$text"; })"
  else
    echo "identity $path none"
  fi
done
