import { handlerModule } from '#lib/api/function.ts';
import { compose } from './compose.ts';
import { status } from './status.ts';

const { handler, start, close } = handlerModule(compose, status);
export default handler;
export { close, start };
