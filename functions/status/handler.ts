import { handlerModule } from '#lib/api/function.ts';
import { showBroker } from '#lib/metrics/broker.ts';
import { measured } from '#lib/metrics/calls.ts';
import { createMetrics } from '#lib/metrics/metrics.ts';
import { compose } from './compose.ts';
import { showLedger } from './ledger-metrics.ts';
import { pathOf, status } from './status.ts';

const { handler, start, close } = handlerModule(compose, (dependencies) => {
  const metrics = createMetrics('status');
  showBroker(metrics, dependencies.broker);
  showLedger(metrics, dependencies.broker.ledger);
  return measured({ ...dependencies, metrics, pathOf }, status(dependencies));
});
export default handler;
export { close, start };
