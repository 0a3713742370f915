# Prints the files whose paths are the lines of $JOB/paths, as records.sh does; a record's name is the number of its
# line, counted from 0.
set -eu
export LC_ALL=C
# shellcheck source=records.sh
. "$JOB/records"
number=0
while read -r path; do
  record file "$number" "$path"
  number=$((number + 1))
done <"$JOB/paths"
send
