import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/**
 * The numbers of one function for Prometheus. Labels are bounded: they hold words of this code, and never a ticket, a
 * caller, a package or a URL.
 */
export interface Metrics {
  counter<Label extends string>(definition: Definition<Label>): CountUp<Label>;
  /** `buckets`: upper bounds, in seconds. */
  histogram<Label extends string>(definition: Definition<Label>, buckets: readonly number[]): Observe<Label>;
  /** `read` gives the values whenever somebody asks for the numbers; it must be quick. Where it throws, there are none. */
  gauge<Label extends string>(definition: Definition<Label>, read: () => Values<Label> | Promise<Values<Label>>): void;
  /** All numbers in Prometheus' text format 0.0.4. */
  text(): Promise<string>;
}

export interface Definition<Label extends string> {
  /** The whole name, by https://prometheus.io/docs/practices/naming/, so that a search finds it. */
  readonly name: `imagebuilder_${string}`;
  readonly help: string;
  readonly labels: readonly Label[];
}

export type Labels<Label extends string> = Readonly<Record<Label, string>>;
export type Values<Label extends string> = readonly (readonly [labels: Labels<Label>, value: number])[];
type CountUp<Label extends string> = (labels: Labels<Label>, by?: number) => void;
type Observe<Label extends string> = (labels: Labels<Label>, seconds: number) => void;

/** Gauges of prom-client whose names say that they are counters. */
const misnamed = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** Makes the numbers of a function, with those of Node: processor, memory, event loop. Each has the label `function`. */
export function createMetrics(functionName: string): Metrics {
  const registry = new Registry();
  registry.setDefaultLabels({ function: functionName });
  collectDefaultMetrics({ register: registry });
  for (const name of misnamed) registry.removeSingleMetric(name);
  const options = <Label extends string>({ name, help, labels }: Definition<Label>) => ({
    ...{ name, help, labelNames: [...labels] },
    registers: [registry],
  });
  return {
    counter(definition) {
      const counter = new Counter(options(definition));
      return (labels, by = 1) => counter.inc({ ...labels }, by);
    },
    histogram(definition, buckets) {
      const histogram = new Histogram({ ...options(definition), buckets: [...buckets] });
      return (labels, seconds) => histogram.observe({ ...labels }, seconds);
    },
    gauge(definition, read) {
      new Gauge({
        ...options(definition),
        async collect() {
          this.reset();
          const values = await Promise.resolve()
            .then(read)
            .catch(() => []);
          // A gauge without labels is 0 after its reset: no number is better than a wrong one.
          if (values.length === 0 && definition.labels.length === 0) this.remove();
          for (const [labels, value] of values) this.set({ ...labels }, value);
        },
      });
    },
    text: () => registry.metrics(),
  };
}
