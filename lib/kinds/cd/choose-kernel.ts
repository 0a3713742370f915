import { compareVersions } from '../../apt/version.ts';

/** A kernel in /boot of a live system. */
export interface SystemKernel {
  /** Such as `6.1.0-56-amd64`. */
  readonly version: string;
  /** True where the build has brought it or its initial ramdisk, or altered one of them. */
  readonly isChanged: boolean;
  /** True where the system did not have this version before. */
  readonly isNew: boolean;
}

/**
 * Which kernels of a changed system replace those that a medium boots: versions of the system's kernels by those of the
 * medium, null for one that is not known. `linked` is the kernel that the system itself calls its own (/vmlinuz), null
 * where it names none.
 *
 * A medium with one kernel gets the system's own kernel where that is new, else the newest changed one; none that is
 * older. Where a medium has several, as Ubuntu's with a newer series of kernels beside the usual one, each changed kernel
 * replaces the closest older one of its flavour.
 */
export function chooseKernels(
  onMedium: readonly (string | null)[],
  system: readonly SystemKernel[],
  linked: string | null,
): Map<string | null, string> {
  const changed = system
    .filter(({ isChanged }) => isChanged)
    .map(({ version }) => version)
    .sort((one, other) => compareNumbers(one, other) || compareVersions(one, other));
  const [only, ...others] = onMedium;
  if (only !== undefined && others.length === 0) {
    const newer = changed.filter((version) => only === null || compareNumbers(version, only) >= 0);
    const own = system.find(({ version, isNew }) => isNew && version === linked)?.version;
    const chosen = newer.find((version) => version === own) ?? newer.at(-1);
    return new Map(chosen === undefined ? [] : [[only, chosen]]);
  }
  const found = new Map<string | null, string>();
  const known = onMedium.filter((version) => version !== null).sort(compareVersions);
  for (const version of changed) {
    const replaced = known.findLast(
      (older) => compareVersions(older, version) <= 0 && flavourOf(older) === flavourOf(version),
    );
    // The newest comes last.
    if (replaced !== undefined) found.set(replaced, version);
  }
  return found;
}

/** As `compareVersions`, without the flavours, none of which is newer than another. */
function compareNumbers(one: string, other: string): number {
  const [left = '', right = ''] = [one, other].map((version) =>
    version.slice(0, version.length - flavourOf(version).length),
  );
  return compareVersions(left, right);
}

/** `cloud-amd64` of `6.1.0-56-cloud-amd64`, `generic` of `6.8.0-31-generic`. */
function flavourOf(version: string): string {
  return version.replace(/^\d[^-]*(?:-\d[^-]*)?-?/, '');
}
