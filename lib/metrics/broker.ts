import type { Metrics } from './metrics.ts';

/** Shows whether the function reaches RabbitMQ. */
export function showBroker(metrics: Metrics, broker: { reachable(): { readonly reachable: boolean } }): void {
  metrics.gauge(
    {
      name: 'imagebuilder_broker_reachable',
      help: 'Whether the function is connected to RabbitMQ: 1 or 0',
      labels: [],
    },
    () => [[{}, broker.reachable().reachable ? 1 : 0]],
  );
}
