import { join } from 'node:path';
import { readShellScripts } from '../../shell-scripts.ts';

/** The shell scripts that run in the vm around the image, by its busybox; those inside the image are the guests'. */
export const vmScripts = readShellScripts(join(import.meta.dirname, 'scripts'), [
  'init',
  'stage',
  'mount',
  'attach',
  'detach',
  'fetch-kernel',
]);
