import { exists, remove } from './files.ts';
import { log } from './hook-tools.ts';
import { dataFolder, home, onMachine, programPrefix, settingsFolder } from './places.ts';
import { CommandError, run, succeeds } from './run.ts';
import { removeUnit, stopService } from './service.ts';
import { removeUser } from './user.ts';

/** Takes everything from the machine that the charm has put there, but for Debian packages. */
export function removeAll(): void {
  stopService();
  undoKernels();
  removeUnit();
  for (const path of [settingsFolder, home]) remove(path);
  removeData();
  removeUser();
}

/** A storage that is still mounted keeps its files: it outlives the unit, and may be attached to another one. */
function removeData(): void {
  const folder = onMachine(dataFolder);
  if (!succeeds('mountpoint', ['--quiet', folder]))
    run('rm', ['--recursive', '--force', '--one-file-system', '--', folder]);
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
