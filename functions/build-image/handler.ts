import { handlerModule } from '#lib/api/function.ts';
import { buildImage } from './build-image.ts';
import { compose } from './compose.ts';

const { handler, start, close } = handlerModule(compose, buildImage);
export default handler;
export { close, start };
