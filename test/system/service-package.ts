import type { PackageRecipe } from '../../lab/servers/launchpad.ts';

/** Appears where the daemon of the package was started in any way. */
export const startedMark = '/var/lib/eager-service/started';

/**
 * A package whose script starts its service in every way that packages know, and fails where one of these does: those of systemd,
 * those of init.d, and the program by which the latter start theirs.
 */
export const servicePackage: PackageRecipe = {
  name: 'eager-service',
  fields: { Depends: 'init-system-helpers, systemd' },
  files: {
    '/usr/bin/eager-service': `#!/bin/sh\nmkdir -p /var/lib/eager-service\necho "$0 $*" >>${startedMark}\n`,
    '/lib/systemd/system/eager-service.service':
      '[Service]\nExecStart=/usr/bin/eager-service\n[Install]\nWantedBy=multi-user.target\n',
    '/etc/init.d/eager-service':
      '#!/bin/sh\n### BEGIN INIT INFO\n# Provides: eager-service\n# Default-Start: 2 3 4 5\n# Default-Stop: 0 1 6\n### END INIT INFO\nexec start-stop-daemon --start --exec /usr/bin/eager-service\n',
  },
  scripts: {
    postinst: `
chmod 755 /etc/init.d/eager-service
deb-systemd-helper enable eager-service.service
update-rc.d eager-service defaults
systemctl daemon-reload
systemctl start eager-service
systemctl --no-block restart eager-service.service
deb-systemd-invoke start eager-service.service
invoke-rc.d eager-service start
service eager-service start
/etc/init.d/eager-service restart
start-stop-daemon --start --background --exec /usr/bin/eager-service
start-stop-daemon --stop --oknodo --exec /usr/bin/eager-service
`,
  },
};

/** It is enabled all the same. */
export const enabledLink = '/etc/systemd/system/multi-user.target.wants/eager-service.service';
