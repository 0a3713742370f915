import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { ImageBuilderError, isNodeError } from '../../errors.ts';
import { asRecord, type Cloud, keysInOrder, merged } from './cloud.ts';

/**
 * clouds.yaml, secure.yaml and clouds-public.yaml, found and merged as openstacksdk does
 * (https://docs.openstack.org/openstacksdk/latest/user/config/configuration.html).
 */

const Clouds = z.record(z.string(), z.record(z.string(), z.unknown()));
type Clouds = z.infer<typeof Clouds>;

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The cloud that OS_CLOUD names, or the only one there is, in the region that OS_REGION_NAME names, and the file's name for
 * people. `secret` is the text of a clouds.yaml that stands in for the file. Throws `config.invalid`.
 */
export async function readCloudFile(
  environment: Environment,
  secret: string | null,
): Promise<{ readonly name: string; readonly cloud: Cloud }> {
  const { OS_CLIENT_CONFIG_FILE: configured, OS_CLOUD: wanted } = environment;
  const paths = configured === undefined ? searchPath(environment, 'clouds') : [configured];
  const file =
    secret !== null && configured === undefined
      ? { path: 'the secret openstack-clouds', text: secret }
      : await readFirst(paths);
  if (file === null) {
    throw fault(`OS_CLOUD is ${wanted ?? 'not set'}, but there is no clouds.yaml: looked for ${paths.join(', ')}`);
  }
  const clouds = parseClouds(file, 'clouds');
  const names = Object.keys(clouds);
  const name = wanted ?? (names.length === 1 ? names[0] : undefined);
  if (name === undefined) throw fault(`${file.path} has several clouds (${names.join(', ')}); choose with OS_CLOUD`);
  const own = clouds[name];
  if (own === undefined) throw fault(`${file.path} has no cloud ${name}; it has ${names.join(', ') || 'none'}`);

  const { OS_CLIENT_SECURE_FILE: secureFile } = environment;
  const secure = await readFirst(secureFile === undefined ? searchPath(environment, 'secure') : [secureFile]);
  const secrets = secure === null ? {} : (parseClouds(secure, 'clouds')[name] ?? {});
  const written = merged(own, secrets);
  const profile = await readProfile(written, environment, name);
  // A region of the cloud's own counts before those of its profile.
  const { regions: _, ...rest } = profile;
  const base = written.region_name === undefined || written.regions !== undefined ? profile : rest;
  const cloud = inRegion(merged(base, written), environment.OS_REGION_NAME, name);
  return { name: `the cloud ${name} of ${file.path}`, cloud };
}

/** The profile that a cloud builds on: defaults of a vendor, in a clouds-public.yaml. */
async function readProfile(cloud: Cloud, environment: Environment, name: string): Promise<Cloud> {
  const wanted = cloud.profile ?? cloud.cloud;
  if (wanted === undefined || wanted === null) return {};
  const file = await readFirst(searchPath(environment, 'clouds-public'));
  const found = file === null ? undefined : parseClouds(file, 'public-clouds')[String(wanted)];
  if (found !== undefined) return found;
  const where = file === null ? 'there is no clouds-public.yaml' : `${file.path} has none of that name`;
  throw fault(
    `the cloud ${name} builds on the profile ${String(wanted)}, but ${where}; write the profile's auth_url and other values into the cloud`,
  );
}

/** Puts the values of a region over those of its cloud. The first region is the default. */
function inRegion(cloud: Cloud, wanted: string | undefined, name: string): Cloud {
  const { regions, ...rest } = cloud;
  const commas = typeof rest.region_name === 'string' && rest.region_name.includes(',');
  const list = regions ?? (commas ? String(rest.region_name).split(',') : undefined);
  if (list === undefined) return rest;
  if (!Array.isArray(list) || list.length === 0) throw fault(`regions of the cloud ${name} must be a list`);
  const known = list.map((region: unknown) => {
    const { name: own, values } = typeof region === 'object' ? asRecord(region) : { name: region, values: {} };
    if (own === undefined || own === null) throw fault(`a region of the cloud ${name} has no name`);
    return { name: String(own), values: asRecord(values) };
  });
  const choices = known.map((each) => each.name).join(', ');
  const single = commas || rest.region_name === undefined ? known[0]?.name : String(rest.region_name);
  if (wanted === undefined && single !== known[0]?.name) {
    // openstacksdk would take the first of the list.
    throw fault(
      `the cloud ${name} has the region_name ${single} and the regions ${choices}; choose with OS_REGION_NAME`,
    );
  }
  const region = known.find((each) => each.name === (wanted ?? single));
  if (region === undefined) throw fault(`the cloud ${name} has no region ${wanted}; it has ${choices}`);
  return merged({ ...rest, region_name: region.name }, region.values);
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
function parseClouds(
  { path, text }: { readonly path: string; readonly text: string },
  key: 'clouds' | 'public-clouds',
): Clouds {
  let document: unknown;
  try {
    document = parse(text, { prettyErrors: false, logLevel: 'silent' });
  } catch {
    throw fault(`${path} is not YAML`);
  }
  const result = Clouds.safeParse(asRecord(document)[key]);
  if (!result.success)
    throw fault(
      `${path} does not hold ${key} with a name each, as a ${key === 'clouds' ? key : 'clouds-public'}.yaml does`,
    );
  return Object.fromEntries(Object.entries(result.data).map(([name, cloud]) => [name, keysInOrder(cloud)]));
}

function fault(message: string): ImageBuilderError {
  return new ImageBuilderError('config.invalid', message);
}
