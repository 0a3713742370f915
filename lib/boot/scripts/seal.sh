# Goes on where seal.sh of lib/guest ends.
has_boot_files() {
  while read -r kind _rest; do
    [ "$kind" != bootfile ] || return 0
  done <"$1"
  return 1
}
# New or changed, or gone.
if has_boot_files /tmp/imagebuilder-new || has_boot_files /tmp/imagebuilder-gone; then echo 'boot changed'; fi
