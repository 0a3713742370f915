import type { View } from './medium.ts';

/** The views without repetition: of two with the same layers, the later one counts. */
export function withoutRepetition(views: readonly View[]): View[] {
  return [...new Map(views.map((view) => [view.layers.join('\n'), view])).values()];
}
