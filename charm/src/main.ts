import { runAction } from './actions/run-action.ts';
import { converge } from './converge.ts';
import { readHook } from './hook.ts';
import { failAction, setStatus } from './hook-tools.ts';
import { removeAll } from './remove.ts';
import { stopService } from './service.ts';

/** The charm's one program, for all hooks and actions. */

const hook = readHook(process.env);
process.umask(0o022);

if (hook.kind === 'action') {
  try {
    await runAction(hook);
  } catch (error) {
    // An action that fails is no fault of the unit.
    failAction(error instanceof Error ? error.message : String(error));
  }
} else if (hook.name === 'stop') {
  stopService();
  setStatus('maintenance', 'Stopped');
} else if (hook.name === 'remove') {
  removeAll();
} else {
  await converge(hook);
}
