export function nodeBinary(root: string): string | null;
export function isInstalled(root: string): boolean;
export function ensureNpmPackages(root: string, say: (line: string) => void): Promise<boolean>;
