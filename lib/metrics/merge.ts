/** Media type of Prometheus' text format, which every function answers in. */
export const textFormat = 'text/plain; version=0.0.4; charset=utf-8';

/**
 * Merges answers in Prometheus' text format into one: the samples of a metric from all of them stand together, below one
 * HELP and one TYPE, as the format demands. Each answer has its own labels already.
 */
export function mergeMetrics(texts: readonly string[]): string {
  const families = new Map<string, { readonly head: string[]; readonly samples: string[] }>();
  for (const text of texts) {
    let name = '';
    const seen = new Set(families.keys());
    for (const line of text.split('\n')) {
      const isHead = line.startsWith('# HELP ') || line.startsWith('# TYPE ');
      if (isHead) name = line.split(' ', 3)[2] ?? '';
      else if (line === '' || line.startsWith('#')) continue;
      const family = families.get(name) ?? { head: [], samples: [] };
      families.set(name, family);
      if (!isHead) family.samples.push(line);
      else if (!seen.has(name)) family.head.push(line);
    }
  }
  return [...families.values()].map(({ head, samples }) => `${[...head, ...samples].join('\n')}\n`).join('');
}
