# Goes on where seal.sh of lib/guest ends.
# New or changed, or gone.
if grep -q '^bootfile ' /tmp/imagebuilder-new ||
  grep -vxF -f /tmp/imagebuilder-after "$JOB/before" | grep -q '^bootfile '; then
  echo 'boot changed'
fi
