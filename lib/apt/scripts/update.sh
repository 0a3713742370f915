# Fetches the package lists, and has apt make its index of them. apt's exit code goes out as a status line: its messages decide what
# it means. Where there is a file add-sources, that script is run before.
# $JOB/folder may have the index of an earlier build, and a text about the Release files that it was made of.
exec 2>&1
# shellcheck source=add-sources.sh
if [ -e "$JOB/add-sources" ]; then
  # Not as a condition, in which its `set -e` would not hold.
  (. "$JOB/add-sources")
  code=$?
  [ "$code" = 0 ] || exit "$code"
fi
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
apt-get -c "$JOB/apt.conf" -q -o APT::Status-Fd=3 -o pkgCacheFile::Generate=false update </dev/null
code=$?
if [ "$code" = 0 ]; then
  lists=
  index=
  eval "$(apt-config -c "$JOB/apt.conf" shell lists Dir::State::lists/d index Dir::Cache::pkgcache/f)"
  folder=${index%/*}
  releases=$(cd "$lists" && sha256sum -- *Release* 2>/dev/null)
  # A copy is newer than the sources, as apt wants it. It looks at the lists by their sizes and times.
  if [ ! -e "$JOB/folder/releases" ] || [ "$releases" != "$(cat "$JOB/folder/releases")" ] ||
    ! cp "$JOB/folder"/*.bin "$folder" 2>/dev/null; then
    # A question about no package: apt makes its index for it.
    apt-cache -c "$JOB/apt.conf" pkgnames imagebuilder-none
    code=$?
    if [ -n "$releases" ] && [ -e "$index" ]; then printf '%s\n' "$releases" >"$folder/releases"; fi
  fi
fi
echo "exit:$code" >&3
