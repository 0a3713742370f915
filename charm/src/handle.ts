import { runAction } from './actions/run-action.ts';
import { converge } from './converge.ts';
import type { Hook } from './hook.ts';
import { failAction, setStatus } from './hook-tools.ts';
import { removeAll } from './remove.ts';
import { stopService } from './service.ts';

/** Does what a hook or an action asks for. A hook that throws has failed: Juju commits nothing of it, and repeats it. */
export async function handle(hook: Hook): Promise<void> {
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
}
