import { accessSync, constants } from 'node:fs';
import { test } from 'uvu';
import { cleanEnvironment } from '#lib/exec.ts';

/**
 * `test`, or `test.skip` where one of these programs is missing: `npm run test:unit` installs none of them, `npm test`
 * as root all.
 */
export function testWith(...programs: readonly string[]): typeof test | typeof test.skip {
  return programs.every(isInstalled) ? test : test.skip;
}

function isInstalled(program: string): boolean {
  return cleanEnvironment.PATH.split(':').some((folder) => {
    try {
      accessSync(`${folder}/${program}`, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
