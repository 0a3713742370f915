import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { RequestFault } from '../errors.ts';
import { nearestNames } from '../spelling.ts';

/** Names of settings and secrets that nothing reads, which are misspelt as a rule. */

type Environment = Readonly<Record<string, string | undefined>>;

/** Variables of the command and of `loadConfig` itself, beside the settings. */
const ownVariables = [
  'IMAGEBUILDER_SECRETS_DIRECTORY',
  'IMAGEBUILDER_DEBUG',
  'IMAGEBUILDER_URL',
  'IMAGEBUILDER_TOKEN_FILE',
  'IMAGEBUILDER_LISTEN',
  'IMAGEBUILDER_ALLOWED_HOSTS',
] as const;

const prefix = 'IMAGEBUILDER_';
/** Variables that Kubernetes sets in a pod for each service of its namespace, by which others are recognised. */
const serviceMark = '_SERVICE_HOST';

/**
 * Faults of variables that are no setting although they look like one, by their prefix or because only a letter or two
 * differ. An empty one changes nothing, and is none. `settings`: the variables of all settings.
 */
export function unknownVariables(environment: Environment, settings: readonly string[]): RequestFault[] {
  const known = [...settings, ...ownVariables];
  const set = new Set(known);
  const names = Object.keys(environment);
  const services = names.flatMap((name) => (name.endsWith(serviceMark) ? [name.slice(0, -serviceMark.length)] : []));
  const isOfService = (name: string) =>
    services.some((service) => name.startsWith(`${service}_SERVICE_`) || name.startsWith(`${service}_PORT`));
  return names.flatMap((name) => {
    if (!environment[name] || set.has(name) || isOfService(name)) return [];
    const nearest = nearestOf(name.toUpperCase(), known, prefix);
    return nearest === null ? [] : [{ path: name, message: `is no setting${suggest(nearest)}` }];
  });
}

/** Most names that are suggested because they begin with the one that was given. */
const mostLonger = 4;
const secretPrefix = 'imagebuilder-';

/**
 * Faults of files in the folder of secrets that are no secret although their names look like one. A misspelt token
 * would open the API to everybody. Others' files are none, nor is a file that a variable names, nor an older one beside
 * the secret, such as `imagebuilder-token.old`. `secrets`: the names of all.
 */
export function unknownSecrets(
  directory: string,
  secrets: readonly string[],
  environment: Environment,
): RequestFault[] {
  const names = namesIn(directory);
  const set = new Set(secrets);
  const values = Object.values(environment).filter((value) => value?.includes(directory));
  const isNamed = (name: string) => values.some((value) => value?.includes(join(directory, name)));
  const isKept = (name: string) => secrets.some((secret) => names.includes(secret) && isVariant(name, secret));
  return names.flatMap((name) => {
    if (set.has(name) || isKept(name) || isNamed(name)) return [];
    const nearest = nearestOf(name.toLowerCase(), secrets, secretPrefix);
    return nearest === null ? [] : [{ path: `secret ${name}`, message: `is none that is read${suggest(nearest)}` }];
  });
}

/** Whether `name` is the secret's own with something behind it: `.old`, `.bak`, `~`. */
function isVariant(name: string, secret: string): boolean {
  return name.startsWith(secret) && /^[.~]/.test(name.slice(secret.length));
}

/** The known names that `name` may stand for; null where it does not look like one of them. */
function nearestOf(name: string, known: readonly string[], beginning: string): readonly string[] | null {
  const near = nearestNames(name, known);
  if (near.length > 0) return near;
  if (!name.startsWith(beginning)) return null;
  const longer = known.filter((other) => other.startsWith(name) && name !== beginning);
  if (longer.length > 0 && longer.length <= mostLonger) return longer;
  return nearestNames(name, known, Math.ceil((name.length - beginning.length) / 2));
}

function suggest(nearest: readonly string[]): string {
  return nearest.length === 0 ? '; README.md lists them all' : `; did you mean ${nearest.join(' or ')}?`;
}

/** Empty where there is no such folder, or where only the files in it can be read. */
function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
