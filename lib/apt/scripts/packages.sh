# Lists every package that dpkg knows: name, architecture, version, abbreviated status, and the name by which dpkg shows
# it (libc6:amd64), separated by tabs. dpkg 1.16.2, of 2012, was the first to know the latter two.
# shellcheck disable=SC2016 # the format is dpkg-query's, not the shell's
export LC_ALL=C
command -v dpkg-query >/dev/null 2>&1 || exit 0
dpkg-query -W -f='${Package}\t${Architecture}\t${Version}\t${db:Status-Abbrev}\t${binary:Package}\n'
