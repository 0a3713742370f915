export function packageGroups(entry: string, args: readonly string[]): string[];
export function missingPackages(
  wanted: readonly string[],
  installed: ReadonlySet<string>,
  known: ReadonlySet<string>,
): string[];
export function ensureDebianPackages(groupNames: readonly string[], say: (line: string) => void): Promise<boolean>;
