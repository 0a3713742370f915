# Goes on where seal.sh of lib/guest ends.
if [ "$(grep '^bootstate ' "$JOB/before")" != "$(grep '^bootstate ' /tmp/imagebuilder-after)" ]; then
  echo 'boot changed'
fi
