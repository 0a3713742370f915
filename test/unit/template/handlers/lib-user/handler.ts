import { parseBuildRequest } from '#lib/api/request.ts';
import { errorTable } from '#lib/errors.ts';
import type { Handler } from '../../../../../template/node24-ts/function.ts';

/**
 * Imports the same as a real function: lib/ and a package, found in the same way in the repository and in a built
 * function.
 */
const handler: Handler = async (event, { stopping }) => {
  if (event.path === '/codes') return Object.keys(errorTable).length;
  if (event.path === '/slow') {
    process.stderr.write('{"message":"slow call begun"}\n');
    await new Promise((resolve) => stopping.addEventListener('abort', resolve));
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    return 'finished';
  }
  return parseBuildRequest(event.body).base_image;
};
export default handler;

export async function close(): Promise<void> {
  process.stderr.write('{"message":"closed"}\n');
}
