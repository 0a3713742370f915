import { exists, remove } from './files.ts';
import { log } from './hook-tools.ts';
import { dataFolder, home, onMachine, programPrefix, settingsFolder } from './places.ts';
import { CommandError, run } from './run.ts';
import { removeUnit, stopService } from './service.ts';
import { removeUser } from './user.ts';

/** Takes everything from the machine that the charm has put there, but for Debian packages. */
export function removeAll(): void {
  stopService();
  undoKernels();
  removeUnit();
  for (const path of [settingsFolder, home]) remove(path);
  // Files on a storage that is still mounted stay.
  run('rm', ['--recursive', '--force', '--one-file-system', '--', onMachine(dataFolder)]);
  removeUser();
}

/** The service has made kernels readable for its group. */
function undoKernels(): void {
  const program = `${programPrefix}/lib/imagebuilder/share-kernels`;
  if (!exists(program)) return;
  try {
    run(onMachine(program), ['--undo']);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    log('WARNING', error.message);
  }
}
