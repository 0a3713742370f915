# For the scripts that install packages: the hooks that the image's apt runs around dpkg, and the folder of its log.

# Makes the folder $1, that apt writes its log to, and would not make itself. Images have /var/log as a link to a place in
# memory, which their own boot makes.
make_log_folder() {
  [ -d "$1" ] || mkdir -p "$(readlink -m "$1")"
}

# Reads lines of `apt-config dump`, and prints configuration that takes out hooks without a use here:
# - Those which only remount a file system, as hardened images have them. Whether /tmp or /usr is writable and executable is
#   the image's own affair once it boots; here it is, and mount may not be allowed.
# - debconf's. It asks the questions of all packages before they are unpacked, so that people can answer them together.
#   Nobody is asked here, and debconf runs the same scripts once more as it configures each package.
without_needless_hooks() {
  awk '
    { list = tolower($1) }
    list !~ /^dpkg::(pre-invoke|pre-install-pkgs|post-invoke)::$/ { next }
    /"(\/usr)?(\/s?bin\/)?mount [^;&|"]*remount[^;&|"]*((\|\||;) *(true|:|\/bin\/true);?)?";$/ ||
      /"(\/usr\/sbin\/)?dpkg-preconfigure --apt *((\|\||;) *(true|:|\/bin\/true);?)?";$/ { needless[list] = 1; next }
    { kept[list] = kept[list] "\n" $0 }
    END { for (list in needless) print "#clear " substr(list, 1, length(list) - 2) ";" kept[list] }'
}

# Prints the lines of the image's configuration that set hooks, after their files.
show_hooks() {
  grep -rHsi -e 'Pre-Invoke' -e 'Post-Invoke' -e 'Pre-Install-Pkgs' /etc/apt/apt.conf /etc/apt/apt.conf.d | sed 's/^/hook in /'
}
