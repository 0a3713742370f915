import { type FunctionProcess, startFunction } from '../lab/servers/function.ts';
import { bindToFirst } from './processors.ts';

/** A function that is measured: with the memory that stack.yml gives it, and the first processor for itself. */
export async function startSmallFunction(
  name: 'status' | 'build-image',
  env: Readonly<Record<string, string>>,
): Promise<FunctionProcess & { readonly id: number }> {
  const served = await startFunction({
    handler: `${import.meta.dirname}/../functions/${name}/handler.ts`,
    env: { NODE_OPTIONS: '--max-semi-space-size=8', IMAGEBUILDER_LOG_LEVEL: 'error', ...env },
  });
  const id = served.child.pid ?? 0;
  await bindToFirst(id);
  return { ...served, id };
}
