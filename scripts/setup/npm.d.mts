export const nodeBinary: string;
export function isInstalled(root: string): boolean;
export function ensureNpmPackages(root: string, say: (line: string) => void): Promise<boolean>;
