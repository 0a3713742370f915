# Puts files in place, root's and readable by all. The file `sources` has lines "file-in-$JOB target-path".
set -eu
umask 022

# apt may be set to read sources from elsewhere.
if grep -qsiw dir /etc/apt/apt.conf /etc/apt/apt.conf.d/*; then
  parts=
  eval "$(apt-config shell parts Dir::Etc::sourceparts/d)"
  if [ "$parts" != /etc/apt/sources.list.d/ ]; then
    grep -lsiw -e sourceparts /etc/apt/apt.conf /etc/apt/apt.conf.d/* | sed 's/^/set in /'
    echo "elsewhere: $parts"
    exit 0
  fi
fi
while read -r name target; do
  mkdir -p "${target%/*}"
  # Written beside and renamed, so that neither a link at the target is followed nor a half-written file is left.
  rm -rf "$target.imagebuilder"
  cat "$JOB/$name" >"$target.imagebuilder"
  chown 0:0 "$target.imagebuilder"
  chmod 0644 "$target.imagebuilder"
  mv -f "$target.imagebuilder" "$target"
done <"$JOB/sources"
