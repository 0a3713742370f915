# Prints the state of the image's apt, as records.sh does, so that the worker can find out what that apt would do.
# Changes nothing.
set -eu
export LC_ALL=C
# shellcheck source=records.sh
. "$JOB/records"

status='' extended='' list='' parts='' preferences='' preferences_parts='' trusted='' trusted_parts='' netrc='' netrc_parts=''
eval "$(apt-config shell status Dir::State::status/f extended Dir::State::extended_states/f \
  list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d \
  preferences Dir::Etc::preferences/f preferences_parts Dir::Etc::preferencesparts/d \
  trusted Dir::Etc::trusted/f trusted_parts Dir::Etc::trustedparts/d \
  netrc Dir::Etc::netrc/f netrc_parts Dir::Etc::netrcparts/d)"
configuration=/run/imagebuilder-configuration
trap 'rm -f "$configuration"' EXIT
apt-config dump >"$configuration"
record configuration - "$configuration"
record status - "$status"
record extended-states - "$extended"
record source - "$list"
records source-part "${parts:-/none}"
record preferences - "$preferences"
records preferences-part "${preferences_parts:-/none}"
record trusted - "$trusted"
records trusted-part "${trusted_parts:-/none}"
record netrc - "$netrc"
records netrc-part "${netrc_parts:-/none}"
record certificates - /etc/ssl/certs/ca-certificates.crt
send
