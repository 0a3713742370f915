# Writes the files of the root file system to file descriptor 4, with a zero byte behind each line, for tree-changes.ts:
#   m PATH   something is mounted there: what is seen is not the image's
#   c PATH   a file whose last change is later than $1, in seconds since 1970; PATH begins with `.`
#   u PATH   any other one
# The find of the image must be GNU's: of others, none tells the time of the last change in the form of a script.
set -eu
unsupported() {
  echo "unsupported: the changes of the image cannot be told: it has no $1" >&2
  exit 65
}
# shellcheck disable=SC2185 # it looks into no folder
find --version 2>/dev/null | grep -q 'GNU findutils' || unsupported "find of GNU's"
tar --version 2>/dev/null | grep -q 'GNU tar' || unsupported "tar of GNU's"
while read -r _id _parent _device _root target _rest; do
  [ "$target" = / ] || printf 'm %b\0' "$target"
done </proc/self/mountinfo >&4
cd /
find . -xdev \( -path ./dev -o -path ./proc -o -path ./run -o -path ./sys -o -path ./tmp \) -prune -o \
  -newerct "@$1" -printf 'c %p\0' -o -printf 'u %p\0' >&4
