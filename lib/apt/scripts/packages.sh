# Lists every package that dpkg knows: name, architecture, version and abbreviated status, separated by tabs.
# shellcheck disable=SC2016 # the format is dpkg-query's, not the shell's
export LC_ALL=C
command -v dpkg-query >/dev/null 2>&1 || exit 0
dpkg-query -W -f='${Package}\t${Architecture}\t${Version}\t${db:Status-Abbrev}\n'
