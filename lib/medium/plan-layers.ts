import { ImageBuilderError } from '../errors.ts';
import { quoted } from '../text.ts';
import type { Medium, View } from './medium.ts';
import { chooseLayers, surroundingsOf } from './recognise.ts';

/** A layer, and those that it stands on, the lowest first. */
export interface PlacedLayer {
  readonly layer: string;
  readonly below: readonly string[];
}

/** The layers that get a change, each after all that it stands on. The first holds the chosen source. */
export type LayerPlan = readonly [PlacedLayer, ...PlacedLayer[]];

/** The parts of a medium that a request wants to change. */
export interface WantedLayers {
  /** Id of a source; without it, the default source. */
  readonly source?: string | undefined;
  /** Whether the live session gets the change; without it, where it stands on the layer of the source. */
  readonly live?: boolean | undefined;
}

/** More than media have one above the other: each is a disk of the guest. */
const mostInChain = 10;
/** More than media have: desktops have some 20, most of them of languages. A change is repeated in each. */
const mostChanged = 64;

/**
 * Plans which layers of a medium change. Throws `request.invalid` for an unknown source, `image.unsupported` where a
 * change cannot be made as wanted, and `image.too_large` for too many layers.
 */
export function planLayers(medium: Medium, { source, live }: WantedLayers): LayerPlan {
  const longest = Math.max(...medium.views.map(({ layers }) => layers.length));
  if (longest > mostInChain) {
    throw new ImageBuilderError(
      'image.too_large',
      `the medium has ${longest} layers, one above the other; at most ${mostInChain} are opened`,
    );
  }
  const { source: chosen, layer, below, above } = chooseLayers(medium, source ?? null);
  const plan: [PlacedLayer, ...PlacedLayer[]] = [{ layer, below }, ...above];
  const { variations = [] } = chosen;
  for (const variation of variations) addVariation(medium, plan, variation);
  const liveViews = medium.views.filter((view) => view.live);
  if (live === false) for (const own of [layer, ...variations]) assertLeavesLive(own, liveViews);
  if (live === true) plan.push(...liveLayers(medium, plan, liveViews));
  if (plan.length > mostChanged) {
    throw new ImageBuilderError(
      'image.too_large',
      `the change concerns ${plan.length} layers of the medium; at most ${mostChanged} are changed`,
    );
  }
  for (const placed of plan) assertOnePlace(medium, placed);
  return plan;
}

/** A variation may stand on other layers than its source, and gets installed in its place. */
function addVariation(medium: Medium, plan: PlacedLayer[], variation: string): void {
  const { layer, below, above } = surroundingsOf(medium, variation);
  const planned = new Set(plan.map((placed) => placed.layer));
  plan.push(...[{ layer, below }, ...above].filter((placed) => !planned.has(placed.layer)));
}

/** The layer of the source takes what the live session shows as well: nothing hides a change from one of two views. */
function assertLeavesLive(layer: string, liveViews: readonly View[]): void {
  if (!liveViews.some(({ layers }) => layers.includes(layer))) return;
  throw new ImageBuilderError(
    'image.unsupported',
    `cd.live is false, but the live session of the medium stands on /${layer}, which gets the change: choose a source that it does not stand on, or leave cd.live out`,
  );
}

/** The layers of live sessions that do not stand on a layer of the plan: the lowest that no installation shows, and up. */
function liveLayers(medium: Medium, plan: LayerPlan, liveViews: readonly View[]): PlacedLayer[] {
  if (liveViews.length === 0) {
    throw new ImageBuilderError(
      'image.unsupported',
      'cd.live is true, but nothing on the medium says which of its layers are those of a live session',
    );
  }
  const planned = new Set(plan.map(({ layer }) => layer));
  const installed = new Set(medium.views.filter((view) => !view.live).flatMap(({ layers }) => layers));
  const found = new Map<string, PlacedLayer>();
  for (const { layers } of liveViews.toSorted((one, other) => one.layers.length - other.layers.length)) {
    if (layers.some((layer) => planned.has(layer))) continue;
    const own = layers.findIndex((layer) => !installed.has(layer));
    const lowest = own < 0 ? layers.length - 1 : own;
    for (const [index, layer] of layers.entries()) {
      if (index >= lowest && !found.has(layer)) found.set(layer, { layer, below: layers.slice(0, index) });
    }
  }
  return [...found.values()];
}

/** A layer has one content, which is right above the same layers only. */
function assertOnePlace({ views }: Medium, { layer, below }: PlacedLayer): void {
  for (const { layers } of views) {
    const place = layers.indexOf(layer);
    if (place < 0 || layers.slice(0, place).join('\n') === below.join('\n')) continue;
    throw new ImageBuilderError(
      'image.unsupported',
      `the layer ${quoted(layer)} of the medium stands on other layers in one list of them than in another`,
    );
  }
}
