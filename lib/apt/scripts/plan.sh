# Shows what an installation would change and fetch. The arguments are those of apt-get. Changes nothing.
export LC_ALL=C.UTF-8
exec 2>&1
echo '== changes'
apt-get -c "$JOB/apt.conf" -y -q -s "$@" </dev/null &&
  echo '== downloads' &&
  apt-get -c "$JOB/apt.conf" -y -qq --print-uris "$@" </dev/null
echo "exit:$?" >&3
