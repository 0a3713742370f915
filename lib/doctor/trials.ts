import { toImageBuilderError } from '../errors.ts';
import { assertTrials } from '../guest/vm/trial.ts';
import { assertFirmware } from '../guest/vm/trial-machine.ts';
import type { Finding } from './finding.ts';

/** Whether finished images can be booted for a check here. It matters only where every build asks for it. */
export async function lookAtTrials(isDemanded: boolean): Promise<Finding[]> {
  const what = 'boot check';
  try {
    await assertTrials();
    await assertFirmware('uefi');
    return [{ what, ok: true, detail: 'finished images can be booted by BIOS and UEFI' }];
  } catch (error) {
    const { message } = toImageBuilderError(error);
    return [{ what, ok: !isDemanded, detail: `finished images cannot be booted: ${message}` }];
  }
}
