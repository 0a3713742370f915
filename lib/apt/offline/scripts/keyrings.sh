# Prints the files whose paths are the lines of $JOB/paths, in the form of state.sh; a record's name is the number of
# its line, counted from 0.
set -eu
export LC_ALL=C
{
  number=0
  while read -r path; do
    if [ -f "$path" ]; then
      size=$(wc -c <"$path")
      printf '%d keyring %d\n' "$size" "$number"
      head -c "$size" "$path"
    fi
    number=$((number + 1))
  done <"$JOB/paths"
  echo '0 end -'
} | gzip -1 | base64 -w 1000
