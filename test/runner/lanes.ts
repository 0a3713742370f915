/**
 * The order of the system test files. Most run side by side: they start servers of their own, look for what they leave
 * by their own folder, and wait more than they compute.
 */

/** Two, as the processors of the smallest machine that runs the tests: a vm alone keeps one busy. */
export const lanes = 2;

/** Files that run one by one after the others, since load or another file could decide their result. */
export const alone: readonly string[] = [
  // They use up a file system, memory and process numbers.
  'test/system/disk-space.test.ts',
  'test/system/guest-limits.test.ts',
];

/** Files of more than a minute and a half, the longest first. They begin first, so that no lane ends long after the other. */
export const longest: readonly string[] = [
  'test/system/layers.test.ts',
  'test/system/apt.test.ts',
  'test/system/survive-worker.test.ts',
  'test/system/build.test.ts',
  'test/system/survive-stop.test.ts',
  'test/system/guest-host.test.ts',
  'test/system/survive-broker.test.ts',
  'test/system/identities.test.ts',
  'test/system/store-glance.test.ts',
  'test/system/build-limits.test.ts',
  'test/system/hostile-guest.test.ts',
  'test/system/build-cd.test.ts',
  'test/system/build-touch.test.ts',
  'test/system/store-swift.test.ts',
  'test/system/secrets.test.ts',
  'test/system/build-faults.test.ts',
  'test/system/serve-command.test.ts',
  'test/system/page.test.ts',
];

export interface Plan {
  readonly sideBySide: readonly string[];
  /** These begin when all others have ended. */
  readonly oneByOne: readonly string[];
}

/** The order for these files: first the longest, then the others in alphabetical order. */
export function planLanes(files: readonly string[]): Plan {
  const sorted = [...longest.filter((file) => files.includes(file)), ...files.toSorted()];
  const order = [...new Set(sorted)];
  return {
    sideBySide: order.filter((file) => !alone.includes(file)),
    oneByOne: order.filter((file) => alone.includes(file)),
  };
}
