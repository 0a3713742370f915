import { join } from 'node:path';
import { root } from './root.ts';

/** Files and folders of the charm on its machine. */

/** Folder of the installed programs, one for each version that was not tidied up yet. */
export const home = '/opt/imagebuilder';
/**
 * The program that runs: a link to one of the folders in `home`. The packed charm has its program, in `program/`, made for
 * this prefix.
 */
export const programPrefix = '/opt/imagebuilder/current';
/** The charm's own folder. Hooks run in it. */
export const charmFolder = join(import.meta.dirname, '..');

export const serviceName = 'imagebuilder.service';
export const serviceUser = 'imagebuilder';
export const dataFolder = '/var/lib/imagebuilder';
export const settingsFolder = '/etc/imagebuilder';
export const environmentPath = '/etc/imagebuilder/environment';
export const authoritiesPath = '/etc/imagebuilder/ca-certificates.pem';
export const ownTokenPath = '/etc/imagebuilder/own-token';
export const secretsFolder = '/etc/imagebuilder/secrets';
/** Mark of the action `pause`. */
export const pausePath = '/etc/imagebuilder/paused';
export const unitPath = '/etc/systemd/system/imagebuilder.service';
export const dropInFolder = '/etc/systemd/system/imagebuilder.service.d';
export const commandPath = '/usr/local/bin/imagebuilder';
/** Digest of all that the service was started with. */
export const startedPath = '/opt/imagebuilder/started';
/** Debian packages that were asked of apt last. */
export const packagesPath = '/opt/imagebuilder/packages';

/** The path by which this process reaches a file of the machine. */
export const onMachine = (path: string): string => join(root, path);
