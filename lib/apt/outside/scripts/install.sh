# Installs packages that were resolved and downloaded elsewhere, without the network and without asking anything.
# $1 is the folder of apt's log, $2 the path of its extended_states. $JOB/folder holds the packages, $JOB/Packages their index, $JOB/wanted what apt-get is to install and remove,
# $JOB/settings the lines of `apt-config dump` that set hooks, $JOB/extended_states, where it exists, the new content of the extended_states of apt.
exec 2>&1
log=$1 states=$2
export LC_ALL=C.UTF-8
export DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical DEBCONF_NONINTERACTIVE_SEEN=true
export UCF_FORCE_CONFFOLD=1 APT_LISTCHANGES_FRONTEND=none APT_LISTBUGS_FRONTEND=none
# Nothing of the image runs yet, so there is nothing to restart.
export NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l

# The only repository that apt sees: apt.conf names these places. Its list lies where an update would put it.
place=/run/imagebuilder-packages
rm -rf "$place"
trap 'rm -rf "$place"' EXIT
mkdir -p "$place/lists/partial" "$place/archives/partial"
# As if apt had downloaded them: it would hash packages of a repository, which the worker has done already.
if [ -s "$JOB/Packages" ]; then ln -s "$JOB"/folder/*.deb "$place/archives/"; fi
ln -s "$JOB/folder" "$place/pool"
cat "$JOB/Packages" >"$place/lists/_run_imagebuilder-packages_pool_._Packages"
echo "deb [trusted=yes] file:$place/pool ./" >"$place/sources.list"

code=0
if [ -s "$JOB/wanted" ]; then
  set -f
  # shellcheck disable=SC2046 # one word each; too many for the script's own arguments
  set -- $(cat "$JOB/wanted")
  # shellcheck source=../../scripts/hooks.sh
  . "$JOB/hooks"
  make_log_folder "$log"
  { cat "$JOB/apt.conf" && without_needless_hooks <"$JOB/settings"; } >"$place/apt.conf"
  # Reads every inode for touched.sh, as in ../../scripts/install.sh. With one processor, nothing runs beside dpkg.
  processors=
  { read -r processors </sys/devices/system/cpu/online; } 2>/dev/null
  [ "$processors" = 0 ] || [ -d /run/imagebuilder-changes ] || find / -xdev -newer / >/dev/null 2>&1 3>&- &
  apt-get -c "$place/apt.conf" -y -q -o APT::Status-Fd=3 --no-install-recommends install "$@" </dev/null
  code=$?
  [ "$code" = 0 ] || show_hooks
fi
if [ "$code" = 0 ] && [ -f "$JOB/extended_states" ]; then
  if ! { { [ -d "${states%/*}" ] || mkdir -p "${states%/*}"; } && cat "$JOB/extended_states" >"$states"; }; then
    echo "E: $states cannot be written"
    code=100
  fi
fi
echo "exit:$code" >&3
[ "$code" = 0 ] || exit 0
# For lib/apt/collect-packages.ts.
echo packages: >&3
# shellcheck source=../../scripts/packages.sh
(. "$JOB/packages") >&3 2>/dev/null && echo listed: >&3
exit 0
