# Lists every package that dpkg knows, its fields separated by tabs: name, architecture, version, abbreviated status, the
# name by which dpkg shows it (libc6:amd64), and name and version of its source package. dpkg 1.16.2, of 2012, was the
# first to know the latter four.
# shellcheck disable=SC2016 # the format is dpkg-query's, not the shell's
export LC_ALL=C
command -v dpkg-query >/dev/null 2>&1 || exit 0
format='${Package}\t${Architecture}\t${Version}\t${db:Status-Abbrev}\t${binary:Package}'
dpkg-query -W -f="$format"'\t${source:Package}\t${source:Version}\n'
