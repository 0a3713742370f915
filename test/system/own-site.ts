import type { PackageRecipe } from '../../lab/servers/launchpad.ts';

/** A package with an account, a file for configuration, a program of owner and mode of its own, and a change to /etc/hosts. */
export const ownSite = (depends: string): PackageRecipe => ({
  name: 'own-site',
  fields: { Depends: depends, 'Pre-Depends': 'adduser' },
  files: { '/etc/own/site.conf': 'a = 1\n', '/usr/bin/own-site': '#!/bin/sh\n' },
  conffiles: ['/etc/own/site.conf'],
  scripts: {
    preinst: 'adduser --system --group --home /var/lib/own --quiet own',
    postinst: 'chown own:own /usr/bin/own-site; chmod 4750 /usr/bin/own-site; echo changed >>/etc/hosts',
  },
});
