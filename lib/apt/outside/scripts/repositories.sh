# Prints the files of the image that say which repositories its apt has and which keys it trusts, and the Release files
# among its lists, as records.sh does. Changes nothing.
set -eu
export LC_ALL=C
# shellcheck source=records.sh
. "$JOB/records"

list='' parts='' trusted='' trusted_parts=''
eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d \
  trusted Dir::Etc::trusted/f trusted_parts Dir::Etc::trustedparts/d)"
record source - "$list"
records source-part "${parts:-/none}"
record trusted - "$trusted"
records trusted-part "${trusted_parts:-/none}"
# The folder of the build, whatever folder the image’s configuration names.
for path in /var/lib/apt/lists/*Release /var/lib/apt/lists/*Release.gpg; do
  case ${path##*/} in *[!A-Za-z0-9._%:+~@,=-]*) continue ;; esac
  record release "${path##*/}" "$path"
done
send
