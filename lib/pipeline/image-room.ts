import type { ImageFacts } from '../apt/facts.ts';
import type { InstallPlan } from '../apt/plan.ts';
import { growthError, inodeError, type Room } from '../apt/room.ts';

/** Stops a build whose packages cannot fit into its image before any of them is downloaded. */
export interface ImageRoom {
  /** Aborted with `image.full`. */
  readonly exceeded: AbortSignal;
  /** The room in the image, and its packages, before the change. */
  begin(facts: Pick<ImageFacts, 'rooms' | 'packages'>): void;
  /** Takes the growth that apt announces while it runs. */
  expectGrowth(bytes: number): void;
  /** Throws `image.full` for a plan of more files than there is room for. */
  expectFiles(plan: InstallPlan): void;
}

export function watchImageRoom(): ImageRoom {
  const full = new AbortController();
  let known: { readonly rooms: readonly Room[]; readonly installed: ReadonlySet<string> } | null = null;
  return {
    exceeded: full.signal,
    begin({ rooms, packages }) {
      known = { rooms, installed: new Set(packages.map(({ name }) => name)) };
    },
    expectGrowth(bytes) {
      const error = growthError(known?.rooms ?? [], bytes);
      if (error !== null) full.abort(error);
    },
    expectFiles(plan) {
      const error = known === null ? null : inodeError(known.rooms, plan, known.installed);
      if (error !== null) throw error;
    },
  };
}
