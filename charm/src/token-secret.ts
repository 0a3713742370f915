import { ask, askIfThere, type Data } from './hook-tools.ts';
import { run } from './run.ts';
import { withSecretFile } from './secret-file.ts';

/** The Juju secret of this unit with the token for callers that are related to it. Its key is `token`. */

const label = 'imagebuilder-token';

/** Its id, such as `secret:abc`; null where there is none. */
export function readTokenSecret(): string | null {
  const found = askIfThere('secret-info-get', '--label', label);
  const [id] = Object.keys((found ?? {}) as object);
  return id === undefined ? null : id.startsWith('secret:') ? id : `secret:${id}`;
}

/** Makes the secret, or gives it a new revision where the token is another one, and grants it. Gives back its id. */
export function writeTokenSecret(token: string, relations: readonly string[]): string {
  const found = readTokenSecret();
  const id =
    found ??
    withSecretFile(token, (path) =>
      run('secret-add', ['--owner', 'unit', '--label', label, `token#file=${path}`]).trim(),
    );
  if (found !== null && (ask('secret-get', id, '--peek') as Data).token !== token) {
    withSecretFile(token, (path) => run('secret-set', [id, `token#file=${path}`]));
  }
  for (const relation of relations) run('secret-grant', [id, '--relation', relation]);
  return id;
}

export function removeTokenSecret(): void {
  const id = readTokenSecret();
  if (id !== null) run('secret-remove', [id]);
}
