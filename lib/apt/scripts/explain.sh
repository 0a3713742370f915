# Prints what apt knows about packages that cannot be installed. The file `names` holds their names; with the argument
# `names`, those of all packages follow.
export LC_ALL=C.UTF-8
exec 2>/dev/null
echo '== policy'
xargs apt-cache -c "$JOB/apt.conf" policy <"$JOB/names"
echo '== suites'
apt-cache -c "$JOB/apt.conf" policy
echo '== holds'
apt-mark -c "$JOB/apt.conf" showhold
echo '== architectures'
apt-config dump | sed -n 's/^APT::Architectures:: "\(.*\)";$/\1/p'
echo '== pins'
preferences='' parts=''
eval "$(apt-config shell preferences Dir::Etc::preferences/f parts Dir::Etc::preferencesparts/d)"
for file in "$preferences" "$parts"*; do
  case ${file##*/} in *.pref) ;; *.*) [ "$file" = "$preferences" ] || continue ;; esac
  [ ! -f "$file" ] || grep -Hi -e '^Package:' -e '^Pin-Priority:' "$file" /dev/null
done | head -c 1000000
echo '== names'
if [ "$1" = names ]; then apt-cache -c "$JOB/apt.conf" pkgnames | head -c 8000000; fi
exit 0
