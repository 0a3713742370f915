/** Words about the ways by which sources of an image are read (the scheme of a URI), alike for both apts. */

/** `http` of `http://…`, `mirror+file` of `mirror+file:/…`; empty where there is none. */
export function schemeOf(uri: string): string {
  return /^([A-Za-z][A-Za-z0-9+.-]{0,40}):/.exec(uri)?.[1] ?? '';
}

/** True for folders of the image itself. */
export function isInImage(scheme: string): boolean {
  return scheme === 'file' || scheme === 'copy';
}

/** Folders in which installers and live systems (casper, live-boot) mount the medium that they have started from. */
const discFolder = /^\/+(?:cdrom|(?:media|mnt)\/cdrom[0-9]?|run\/live\/medium|lib\/live\/mount\/medium)\/*$/;

/** True for a source on a disc, by its scheme, or by the folder where the disc is mounted: `file:///cdrom` of Ubuntu's media. */
export function isOnDisc(uri: string): boolean {
  const scheme = schemeOf(uri);
  return scheme === 'cdrom' || (isInImage(scheme) && discFolder.test(uri.slice(scheme.length + 1)));
}

/** Why a source of this scheme cannot be used, behind words that name the source. */
export function withoutWay(scheme: string): string {
  return `is read with "${scheme}", for which builds have no way: they reach repositories by http and https, and by mirror lists of these; take it out of the base image, or switch it off there`;
}

/** The warning about a source on a disc. */
export function leftOutDisc(uri: string): string {
  return `the image's own source ${uri} is left out: it is a CD that is not there`;
}
