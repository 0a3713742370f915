# Prints the files of apt's sources that have the text $1. Apt does not name them where two sources contradict each other.
export LC_ALL=C
list='' parts=''
eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
grep -lF -e "$1" "$list" "$parts"*.list "$parts"*.sources 2>/dev/null
exit 0
