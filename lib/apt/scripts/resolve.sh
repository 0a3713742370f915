# Plans an installation, to show its packages, its problems and the files that it would fetch. $1 is the apt-get option
# about recommends, the rest are package specifications for apt-get; the file `names` holds their bare names for apt-cache,
# and the file `patterns`, where there is one, says that apt-get may take one of them for something else.
export LC_ALL=C.UTF-8
recommends=$1
shift
exec 2>&1

# apt-get refuses without a simulation what it refuses with one, in the same words, and takes half the time. With -q, it would
# not say which package it takes for a virtual one. The image's configuration must not change what is read here.
ask() {
  apt-get -c "$JOB/apt.conf" -y -q=0 "$recommends" -o APT::Output-Version=0 -o APT::Get::Show-Upgraded=true "$@" </dev/null
}
echo '== plan'
# A repository without SHA-256 may have SHA-512.
plan=$(ask -o Acquire::ForceHash=SHA256 --print-uris install "$@") || plan=$(ask --print-uris install "$@")
code=$?
printf '%s\n' "$plan"

if [ "$code" != 0 ] || [ -e "$JOB/patterns" ]; then
  echo '== policy'
  xargs apt-cache -c "$JOB/apt.conf" policy <"$JOB/names"
fi
# The indexes that have these files.
if [ "$code" = 0 ]; then
  echo '== places'
  printf '%s\n' "$plan" |
    sed -n "/^'/{s/^'[^']*' \([a-z0-9][a-z0-9+.-]*\)_[^_]*_\([a-z0-9-]*\)\.deb .*/\1:\2/;s/:all\$//;p;}" |
    xargs apt-cache -c "$JOB/apt.conf" madison -- 2>/dev/null | head -c 8000000
fi
echo "exit:$code" >&3
