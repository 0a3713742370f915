import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Has a hook tool read a secret from a file that only root can read: arguments are seen by all users of the machine. */
export function withSecretFile<Result>(text: string, use: (path: string) => Result): Result {
  const folder = mkdtempSync(join(tmpdir(), 'imagebuilder-charm-'));
  try {
    const path = join(folder, 'secret');
    writeFileSync(path, text, { mode: 0o600 });
    return use(path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
