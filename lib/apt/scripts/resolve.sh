# Simulates an installation, to show its packages and problems. $1 is the apt-get option about recommends, the rest are
# package specifications for apt-get; the file `names` holds their bare names for apt-cache.
export LC_ALL=C.UTF-8
recommends=$1
shift
exec 2>&1

# Images made from containers keep no cache of the package lists, and apt would read all lists with each call. One in memory
# serves all calls, where there is room.
conf=$JOB/apt.conf
kept=
free=$(df -Pk /tmp | awk 'NR == 2 { print $4 }')
if [ "$(apt-config -c "$conf" shell cache Dir::Cache::pkgcache)" = "cache=''" ] && [ "${free:-0}" -gt 262144 ] &&
  kept=$(mktemp -d /tmp/imagebuilder-XXXXXX); then
  conf=$kept/apt.conf
  { cat "$JOB/apt.conf" && echo "Dir::Cache::pkgcache \"$kept/pkgcache.bin\";"; } >"$conf"
fi

echo '== policy'
xargs apt-cache -c "$conf" policy <"$JOB/names"
echo '== simulation'
# With -q, apt would not say which package it takes for a virtual one.
apt-get -c "$conf" -y -q=0 "$recommends" -s install "$@" </dev/null
code=$?

# The files that an installation would fetch, and the indexes that have them. A repository without SHA-256 may have SHA-512.
print_uris() { apt-get -c "$conf" "$recommends" -y -qq --print-uris "$@" </dev/null 2>/dev/null; }
if [ "$code" = 0 ]; then
  echo '== uris'
  uris=$(print_uris -o Acquire::ForceHash=SHA256 install "$@" || print_uris install "$@")
  printf '%s\n' "$uris"
  echo '== places'
  printf '%s\n' "$uris" |
    sed -n "/^'/{s/^'[^']*' \([a-z0-9][a-z0-9+.-]*\)_[^_]*_\([a-z0-9-]*\)\.deb .*/\1:\2/;s/:all\$//;p;}" |
    xargs apt-cache -c "$conf" madison -- 2>/dev/null | head -c 8000000
fi
[ -z "$kept" ] || rm -rf "$kept"
echo "exit:$code" >&3
