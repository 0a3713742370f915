import { handlerModule } from '#lib/api/function.ts';
import { showBroker } from '#lib/metrics/broker.ts';
import { measured } from '#lib/metrics/calls.ts';
import { createMetrics } from '#lib/metrics/metrics.ts';
import { buildImage, pathOf } from './build-image.ts';
import { compose } from './compose.ts';

const { handler, start, close } = handlerModule(compose, (dependencies) => {
  const metrics = createMetrics('build-image');
  showBroker(metrics, dependencies.broker);
  return measured({ ...dependencies, metrics, pathOf }, buildImage(dependencies));
});
export default handler;
export { close, start };
