import { markerPackage, type PpaRecipe } from '../lab/servers/launchpad.ts';

/** The PPA of the specification's own example, with the two packages that its request names. */

/** baz-utils prints this on the console whenever a system that has it boots. */
export const bootMarker = 'baz-utils-was-here';

/**
 * Package of the distribution that `apt` installs because baz-utils depends on it: packages of both places come
 * together.
 */
const dependencyFromTheArchive = 'jq';

export function examplePpa(series: string): PpaRecipe {
  const marker = markerPackage('baz-utils', bootMarker);
  return {
    owner: 'project',
    name: 'ppaname',
    series: [series],
    packages: [
      {
        name: 'libfoo',
        version: '1.4.2-1',
        fields: { Description: 'the library of the example' },
        files: { '/usr/share/libfoo/greeting': 'Hello from a package of a PPA.\n' },
      },
      {
        ...marker,
        version: '2.0-3',
        fields: {
          Depends: `libfoo (>= 1.4), ${dependencyFromTheArchive}`,
          Description: 'the tools of the example',
        },
        files: { ...marker.files, '/usr/bin/baz': '#!/bin/sh\nexec cat /usr/share/libfoo/greeting\n' },
      },
    ],
  };
}
