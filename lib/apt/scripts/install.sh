# Installs packages without asking anything. $1 is the apt-get option about recommends, the rest are specifications.
exec 2>&1
recommends=$1
shift
export LC_ALL=C.UTF-8
# shellcheck source=hooks.sh
. "$JOB/hooks"
# With APT_CONFIG this is the worker, which has its own.
if [ -z "${APT_CONFIG:-}" ]; then
  log=
  eval "$(apt-config -c "$JOB/apt.conf" shell log Dir::Log/d)"
  make_log_folder "$log"
fi
export DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical DEBCONF_NONINTERACTIVE_SEEN=true
export UCF_FORCE_CONFFOLD=1 APT_LISTCHANGES_FRONTEND=none APT_LISTBUGS_FRONTEND=none
# Nothing of the image runs yet, so there is nothing to restart.
export NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l
conf=$JOB/apt.conf
hooks=
[ -n "${APT_CONFIG:-}" ] || hooks=$(apt-config -c "$JOB/apt.conf" dump DPkg | without_needless_hooks)
if [ -n "$hooks" ]; then
  conf=/run/imagebuilder-apt.conf
  trap 'rm -f "$conf"' EXIT
  { cat "$JOB/apt.conf" && echo "$hooks"; } >"$conf"
fi
# The list of changed files (lib/guest/scripts/touched.sh) needs every inode, and reading these takes longer than all the
# rest of it. Beside apt it takes no time: dpkg keeps one processor busy. apt on the worker has no such list, and layers
# need no such search.
[ -n "${APT_CONFIG:-}" ] || [ -d /run/imagebuilder-changes ] || find / -xdev -newer / >/dev/null 2>&1 3>&- &
apt-get -c "$conf" -y -q -o APT::Status-Fd=3 "$recommends" install "$@" </dev/null
code=$?
[ "$code" = 0 ] || [ -n "${APT_CONFIG:-}" ] || show_hooks
echo "exit:$code" >&3
if [ "$code" != 0 ] || [ -n "${APT_CONFIG:-}" ]; then exit 0; fi
# For lib/apt/collect-packages.ts.
echo packages: >&3
# shellcheck source=packages.sh
(. "$JOB/packages") >&3 2>/dev/null && echo listed: >&3
exit 0
