# For the scripts that install packages: the hooks that the image's apt runs around dpkg.

# Prints configuration that takes out hooks which only remount a file system, as hardened images have them. Whether /tmp or
# /usr is writable and executable is the image's own affair once it boots; here it is, and mount may not be allowed.
without_remounts() {
  grep -qrs remount /etc/apt/apt.conf /etc/apt/apt.conf.d || return 0
  remount='"(/usr)?(/s?bin/)?mount [^;&|"]*remount[^;&|"]*((\|\||;) *(true|:|/bin/true);?)?";$'
  for list in DPkg::Pre-Invoke DPkg::Post-Invoke; do
    apt-config dump "$list" | grep -qE "$remount" || continue
    echo "#clear $list;"
    apt-config dump "$list" | grep -i "^$list:: " | grep -vE "$remount" || :
  done
}

# Prints the lines of the image's configuration that set hooks, after their files.
show_hooks() {
  grep -rHsi -e 'Pre-Invoke' -e 'Post-Invoke' -e 'Pre-Install-Pkgs' /etc/apt/apt.conf /etc/apt/apt.conf.d | sed 's/^/hook in /'
}
