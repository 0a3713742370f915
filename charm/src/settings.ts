import { readdirSync } from 'node:fs';
import { exists, makeFolder, type Owner, remove, writeText } from './files.ts';
import { authoritiesPath, environmentPath, onMachine, ownTokenPath, secretsFolder, settingsFolder } from './places.ts';
import type { Wanted } from './wanted.ts';

/** Writes settings and secrets. Only the service's user reads the secrets; systemd reads the settings, as root. */
export function writeSettings(wanted: Wanted, ownToken: string, owner: Owner): void {
  const { environment, authorities, secrets, usesOwnToken } = wanted;
  makeFolder(settingsFolder, 0o755);
  makeFolder(secretsFolder, 0o700, owner);
  for (const [name, text] of secrets) writeText(`${secretsFolder}/${name}`, text, 0o600, owner);
  if (authorities === null) remove(authoritiesPath);
  else writeText(authoritiesPath, authorities, 0o644);
  if (usesOwnToken) writeText(ownTokenPath, ownToken, 0o600);
  else remove(ownTokenPath);
  writeText(environmentPath, environment, 0o600);
}

/** Deletes secrets that are not wanted any more, as those of relations that have gone. */
export function removeSecrets(wanted: Wanted): void {
  if (!exists(secretsFolder)) return;
  const names = readdirSync(onMachine(secretsFolder));
  for (const name of names) if (!wanted.secrets.has(name)) remove(`${secretsFolder}/${name}`);
}
