import { type FunctionProcess, startFunction } from '../lab/servers/function.ts';
import { bindToFirst } from './processors.ts';

/** As stack.yml says, and the heap to which V8 limits itself by the 512 MiB of the container there: half of that, in MiB. */
const nodeOptions = '--max-semi-space-size=4 --max-old-space-size=256';

/** A function that is measured: with the memory that stack.yml gives it, and the first processor for itself. */
export async function startSmallFunction(
  name: 'status' | 'build-image',
  env: Readonly<Record<string, string>>,
): Promise<FunctionProcess & { readonly id: number }> {
  const served = await startFunction({
    handler: `${import.meta.dirname}/../functions/${name}/handler.ts`,
    env: { NODE_OPTIONS: nodeOptions, IMAGEBUILDER_LOG_LEVEL: 'error', ...env },
  });
  const id = served.child.pid ?? 0;
  await bindToFirst(id);
  return { ...served, id };
}
