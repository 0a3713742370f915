import { handlerModule } from '#lib/api/function.ts';
import { measured } from '#lib/metrics/calls.ts';
import { buildWorker, pathOf } from './build-worker.ts';
import { compose } from './compose.ts';

const { handler, start, close } = handlerModule(compose, (dependencies) =>
  measured({ ...dependencies, pathOf }, buildWorker(dependencies)),
);
export default handler;
export { close, start };
