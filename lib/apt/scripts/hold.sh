# Puts packages on hold. $JOB/holds has a line "name hold" for each.
set -eu
export LC_ALL=C
dpkg --set-selections <"$JOB/holds"
