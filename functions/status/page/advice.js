/** Whose fault an error is, and what to do about it. */

const parties = {
  request: 'The request has to change',
  upstream: 'A server that the build depends on is at fault',
  service: 'The operator of Image Builder has to look',
};

/** By the beginning of the error's code; the first that fits counts. @type {Readonly<Record<string, string>>} */
const advice = {
  'build.cancelled': 'Somebody cancelled the build. Retry it to build the image after all.',
  'build.timeout': 'The build took longer than its limit: ask for less, or have the operator raise the limit.',
  'image.not_found': 'Check the URLs of the base image.',
  'image.checksum': 'The server may be just changing the file; if it stays so, name another mirror or checksum.',
  'image.unverified': 'Name the checksum of the base image, or URLs of signed lists of checksums.',
  'image.series': 'Name the series that the base image has, or another image.',
  'image.full': 'Ask for a larger disk with disk_size.',
  'image.': 'Try another base image.',
  'ppa.key': 'The keys of the PPA cannot be had now; try again a little later.',
  'ppa.series': 'Choose a series for which the PPA publishes packages.',
  'ppa.': 'Check the spelling of the PPA, and that it is public.',
  'apt.package': 'Check the names and versions of the packages, and what they depend on.',
  'apt.install': 'A script of the package failed: the log shows its output.',
  'apt.': 'Check the repositories of the request.',
  'guest.limit': 'A script of a package used more than it may: the log shows which.',
  'egress.': 'The operator’s rules refuse this address: name another, or ask the operator.',
  'upstream.forbidden': 'The server refuses access: check the URL.',
  'disk.': 'The disk of the worker has no room left.',
};

/**
 * @param {{ code: string, fault: 'request' | 'upstream' | 'service', retryable: boolean }} error
 * @returns {{ party: string, steps: string }}
 */
export function adviceFor({ code, fault, retryable }) {
  const own = Object.keys(advice).find((beginning) => code.startsWith(beginning));
  const parts = [own === undefined ? '' : advice[own], retryable ? 'Trying the same again may help.' : ''];
  return {
    party: code === 'build.cancelled' ? 'Cancelled' : parties[fault],
    steps: parts.filter((part) => part).join(' '),
  };
}
