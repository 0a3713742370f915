# In apt's folder of packages, $2, makes files for packages that nobody needs to fetch, or removes them: $1 is `make` or
# `remove`, and $JOB/files has a line "SIZE NAME" for each. They have no content.
set -eu
cd "$2"
while read -r size name; do
  rm -f "$name"
  [ "$1" = remove ] || truncate -s "$size" "$name"
done <"$JOB/files"
