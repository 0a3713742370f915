import { glanceAtStores } from '../store/check.ts';
import type { StoreInputs } from '../store/choose.ts';
import type { Finding } from './finding.ts';

/** Looks at the store without putting anything there: `imagebuilder store check` does that. */
export async function lookAtStore(inputs: StoreInputs, signal: AbortSignal): Promise<Finding[]> {
  const todo = 'see docs/openstack.md; `imagebuilder store check` tries an upload as well';
  const findings: Finding[] = [];
  for await (const { what, ok, detail } of glanceAtStores(inputs, signal)) {
    findings.push({ what: `store: ${what}`, ok, detail, ...(ok ? {} : { todo }) });
  }
  return findings;
}
