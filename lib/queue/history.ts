import type { BuildView } from './build.ts';
import { type PackedBuild, packBuild, sizeOfPacked, unpackBuild } from './packed-build.ts';

/** Finished builds, in a bounded number of bytes. */
export interface History {
  has(buildId: string): boolean;
  get(buildId: string): BuildView | undefined;
  /** Takes a finished build, also one that it has and that has changed. */
  put(build: BuildView): PackedBuild;
  /** Drops the builds that ended before `oldest` (a time), and the oldest ones beyond its bytes. Returns them. */
  trim(oldest: string): PackedBuild[];
}

export function createHistory(maximumBytes: number): History {
  /** In the order in which they ended. */
  const builds = new Map<string, PackedBuild>();
  let bytes = 0;

  return {
    has: (buildId) => builds.has(buildId),
    get(buildId) {
      const known = builds.get(buildId);
      return known === undefined ? undefined : unpackBuild(known);
    },
    put(build) {
      const before = builds.get(build.buildId);
      if (before !== undefined) bytes -= sizeOfPacked(before);
      const packed = packBuild(build);
      bytes += sizeOfPacked(packed);
      builds.set(build.buildId, packed);
      return packed;
    },
    trim(oldest) {
      const dropped: PackedBuild[] = [];
      for (const build of builds.values()) {
        if (bytes <= maximumBytes && build.updatedAt >= oldest) break;
        builds.delete(build.buildId);
        bytes -= sizeOfPacked(build);
        dropped.push(build);
      }
      return dropped;
    },
  };
}
