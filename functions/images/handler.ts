import { handlerModule } from '#lib/api/function.ts';
import { showBroker } from '#lib/metrics/broker.ts';
import { measured } from '#lib/metrics/calls.ts';
import { createMetrics } from '#lib/metrics/metrics.ts';
import { compose } from './compose.ts';
import { images, pathOf } from './images.ts';

const { handler, start, close } = handlerModule(compose, (dependencies) => {
  const metrics = createMetrics('images');
  showBroker(metrics, dependencies.broker);
  return measured({ ...dependencies, metrics, pathOf }, images(dependencies));
});
export default handler;
export { close, start };
