export function packageGroups(entry: string, args: readonly string[], isRoot?: boolean): string[];
export function missingPackages(
  wanted: readonly string[],
  installed: ReadonlySet<string>,
  known: ReadonlySet<string>,
): string[];
export function ensureDebianPackages(
  groupNames: readonly string[],
  say: (line: string) => void,
  options?: { readonly lock?: number },
): Promise<boolean>;
