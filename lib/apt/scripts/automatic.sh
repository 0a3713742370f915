# Packages that apt counts as installed automatically: $1 is `show` for their names, or `mark` to add those of $JOB/names.
set -eu
export LC_ALL=C
if [ "$1" = show ]; then
  exec apt-mark showauto
fi
xargs apt-mark auto <"$JOB/names" >/dev/null
