# Goes on where borrow.sh of lib/guest ends, with settings of the tools that make initramfs images. Some images ask for the
# drivers and the swap of the machine that the tool runs on, which is the worker. The later setting wins: these come last.
# initramfs-tools reads this folder last, whichever configuration it is called with, and copies nothing of it.
lend /usr/share/initramfs-tools/conf-hooks.d/zzzz-imagebuilder <<'END'
[ "${MODULES-}" != dep ] || MODULES=most
case ${RESUME-} in '' | auto) RESUME=none ;; esac
END
lend /etc/dracut.conf.d/zzzz-imagebuilder.conf <<'END'
hostonly="no"
hostonly_cmdline="no"
END
