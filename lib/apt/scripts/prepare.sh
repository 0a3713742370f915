# Prepares an image for the change: enables the architectures whose names are the lines of $JOB/architectures, and gives
# debconf the answers in $JOB/selections. What debconf says of these is not shown: it may hold a password.
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
while read -r name; do
  dpkg --add-architecture "$name" || { echo "unprepared: dpkg does not take the architecture $name"; exit 0; }
done <"$JOB/architectures"
[ -s "$JOB/selections" ] || exit 0
if ! command -v debconf-set-selections >/dev/null 2>&1; then
  echo 'unprepared: the image has no debconf (debconf-set-selections) for "debconf_selections"'
elif ! debconf-set-selections <"$JOB/selections" >/dev/null 2>&1; then
  echo 'unprepared: debconf in the image does not take "debconf_selections"'
fi
