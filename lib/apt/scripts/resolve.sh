# Simulates an installation, to show its packages and problems. $1 is the apt-get option about recommends, the rest are
# package specifications for apt-get; the file `names` holds their bare names for apt-cache.
export LC_ALL=C.UTF-8
recommends=$1
shift
exec 2>&1
echo '== policy'
xargs apt-cache -c "$JOB/apt.conf" policy <"$JOB/names"
echo '== simulation'
# With -q, apt would not say which package it takes for a virtual one.
apt-get -c "$JOB/apt.conf" -y -q=0 "$recommends" -s install "$@" </dev/null
echo "exit:$?" >&3
