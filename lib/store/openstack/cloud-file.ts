import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { ImageBuilderError, isNodeError } from '../../errors.ts';

/**
 * clouds.yaml and secure.yaml, found where OpenStack's own tools look for them
 * (https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html).
 */

/** A cloud before it is checked. */
export interface CloudSource {
  /** Where it was read, in words. */
  readonly name: string;
  readonly cloud: unknown;
  /** The name by which the author of the source knows the value at `path`. */
  nameOf(path: readonly string[]): string;
}

const CloudsFile = z.looseObject({ clouds: z.record(z.string(), z.record(z.string(), z.unknown())) });
type Clouds = z.infer<typeof CloudsFile>['clouds'];

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The cloud that OS_CLOUD names, or the only one there is. `secret` is the text of a clouds.yaml that stands in for the
 * file. OS_REGION_NAME, OS_INTERFACE and OS_CACERT win over the file. Throws `config.invalid`.
 */
export async function readCloudFile(environment: Environment, secret: string | null): Promise<CloudSource> {
  const { OS_CLIENT_CONFIG_FILE: configured, OS_CLOUD: wanted } = environment;
  const file =
    secret !== null && configured === undefined
      ? { path: 'the secret openstack-clouds', text: secret }
      : await readFirst(configured === undefined ? searchPath(environment, 'clouds') : [configured]);
  if (file === null) {
    const where = (configured === undefined ? searchPath(environment, 'clouds') : [configured]).join(', ');
    throw fault(`OS_CLOUD is ${wanted ?? 'not set'}, but there is no clouds.yaml: looked for ${where}`);
  }
  const clouds = parseClouds(file);
  const names = Object.keys(clouds);
  const name = wanted ?? (names.length === 1 ? names[0] : undefined);
  if (name === undefined) throw fault(`${file.path} has several clouds (${names.join(', ')}); choose with OS_CLOUD`);
  const cloud = clouds[name];
  if (cloud === undefined) throw fault(`${file.path} has no cloud ${name}; it has ${names.join(', ') || 'none'}`);

  const { OS_CLIENT_SECURE_FILE: secureFile } = environment;
  const secure = await readFirst(secureFile === undefined ? searchPath(environment, 'secure') : [secureFile]);
  const secrets = secure === null ? undefined : parseClouds(secure)[name];
  const given = {
    region_name: environment.OS_REGION_NAME,
    interface: environment.OS_INTERFACE,
    cacert: environment.OS_CACERT,
  };
  return {
    name: `the cloud ${name} of ${file.path}`,
    cloud: {
      ...cloud,
      ...secrets,
      ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
      auth: { ...asObject(cloud.auth), ...asObject(secrets?.auth) },
    },
    nameOf: (path) => path.join('.'),
  };
}

function searchPath({ HOME }: Environment, name: string): string[] {
  const folders = ['.', ...(HOME === undefined ? [] : [join(HOME, '.config/openstack')]), '/etc/openstack'];
  return folders.flatMap((folder) => ['yaml', 'yml', 'json'].map((extension) => join(folder, `${name}.${extension}`)));
}

async function readFirst(paths: readonly string[]): Promise<{ path: string; text: string } | null> {
  for (const path of paths) {
    try {
      return { path, text: await readFile(path, 'utf8') };
    } catch (error) {
      if (isNodeError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) continue;
      throw fault(`${path} cannot be read${isNodeError(error) ? ` (${error.code})` : ''}`);
    }
  }
  return null;
}

/** The error has no cause and quotes no text, since that may hold a password. */
function parseClouds({ path, text }: { readonly path: string; readonly text: string }): Clouds {
  let document: unknown;
  try {
    document = parse(text, { logLevel: 'silent' });
  } catch {
    throw fault(`${path} is not YAML`);
  }
  const result = CloudsFile.safeParse(document);
  if (result.success) return result.data.clouds;
  throw fault(`${path} does not hold clouds with a name each, as a clouds.yaml does`);
}

function asObject(value: unknown): object {
  return typeof value === 'object' && value !== null ? value : {};
}

function fault(message: string): ImageBuilderError {
  return new ImageBuilderError('config.invalid', message);
}
