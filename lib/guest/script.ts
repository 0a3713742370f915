import { join } from 'node:path';
import { readShellScripts } from '../shell-scripts.ts';

/** The shell scripts of the guests. */
export const guestScripts = readShellScripts(join(import.meta.dirname, 'scripts'), [
  'assemble',
  'attach-partition',
  'borrow',
  'copyright',
  'detach',
  'first-boot',
  'give-back',
  'identities',
  'list-changes',
  'own-files',
  'pack-changes',
  'grow-unmounted',
  'look',
  'runner',
  'snapshot',
  'seal',
  'touched',
]);
