export function nodeBinary(root: string): string | null;
export function isInstalled(root: string, options?: { readonly development?: boolean }): boolean;
export function needsDevelopmentPackages(entry: string): boolean;
export function ensureNpmPackages(
  root: string,
  say: (line: string) => void,
  options?: { readonly development?: boolean; readonly lock?: number; readonly signal?: AbortSignal },
): Promise<boolean>;
