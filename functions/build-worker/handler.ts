import { handlerModule } from '#lib/api/function.ts';
import { buildWorker } from './build-worker.ts';
import { compose } from './compose.ts';

const { handler, start, close } = handlerModule(compose, buildWorker);
export default handler;
export { close, start };
