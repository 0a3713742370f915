# For the scripts that print files of the image: one gzip stream in base64. In it are lines "SIZE KIND NAME", one for
# each file and "0 end -" after the last, then the content of the files, in that order. Links are followed here, where
# they lead nowhere but into the image. A few processes for all of them: an emulated processor takes tens of
# milliseconds to start one.
newline='
'
kinds='' paths='' count=0

# $1 kind, $2 name, $3 path, in which there is no newline. More files than lib/apt/outside/records.ts takes, which would
# make the lists below slow to build, are not sent; one more shows that there are too many.
record() {
  [ -f "$3" ] && [ "$count" -le 2000 ] || return 0
  count=$((count + 1))
  kinds="$kinds$1 $2$newline"
  paths="$paths$3$newline"
}

# The files of a folder: $1 kind, $2 path of the folder.
records() {
  for path in "$2"/*; do
    case ${path##*/} in *[!A-Za-z0-9._:-]*) continue ;; esac
    record "$1" "${path##*/}" "$path"
  done
}

send() {
  set -f
  IFS=$newline
  # shellcheck disable=SC2086 # a word each
  set -- $paths
  {
    if [ $# -gt 0 ]; then
      # The line after the last file is their sum.
      wc -c -- "$@" | while IFS=' ' read -r size rest && [ -n "$kinds" ]; do
        echo "$size ${kinds%%"$newline"*}"
        kinds=${kinds#*"$newline"}
      done
    fi
    echo '0 end -'
    if [ $# -gt 0 ]; then cat -- "$@"; fi
  } | gzip -1 | base64 -w 1000
}
