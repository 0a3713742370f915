import { cp, mkdir, readdir, readFile, symlink } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { substitute } from '#lib/serve/substitution.ts';

/**
 * The build context of a function, laid out as faas-cli does it: the template, in it `function/` with the handler's
 * folder, and into that everything that `configuration.copy` names, symbolic links followed.
 */

const repository = resolve(import.meta.dirname, '../..');

const StackFile = z.object({
  provider: z.object({ name: z.literal('openfaas'), gateway: z.string() }),
  configuration: z.object({ copy: z.array(z.string()) }),
  functions: z.record(
    z.string(),
    z.looseObject({
      lang: z.string(),
      handler: z.string(),
      image: z.string(),
      build_args: z.record(z.string(), z.string()),
      readonly_root_filesystem: z.string(),
      limits: z.object({ memory: z.string(), cpu: z.string() }),
      environment: z.record(z.string(), z.string()),
      secrets: z.array(z.string()),
      labels: z.record(z.string(), z.string()),
      annotations: z.record(z.string(), z.string()).optional(),
    }),
  ),
});
export type StackFile = z.infer<typeof StackFile>;
export type StackFunction = StackFile['functions'][string];

/** The repository's stack.yml with `environment` put in. */
export async function readStackFile(environment: Readonly<Record<string, string>> = {}): Promise<StackFile> {
  const text = await readFile(join(repository, 'stack.yml'), 'utf8');
  return StackFile.parse(parse(substitute(text, environment), { merge: true, schema: 'failsafe' }));
}

export interface AssembleOptions {
  /** Folder of the handler instead of the one that stack.yml names. */
  readonly handler?: string;
}

/** Lays out the build context of function `name` as `directory`/build/`name` and returns that path. */
export async function assemble(name: string, directory: string, options: AssembleOptions = {}): Promise<string> {
  const stack = await readStackFile();
  const definition = stack.functions[name];
  if (definition === undefined) throw new Error(`stack.yml has no function ${name}`);
  const context = join(directory, 'build', name);
  await cp(join(repository, 'template', definition.lang), context, { recursive: true, dereference: true });
  const target = join(context, 'function');
  await mkdir(target, { recursive: true });
  const handler = options.handler ?? join(repository, definition.handler);
  for (const entry of await readdir(handler)) {
    // faas-cli leaves these two out.
    if (entry === 'build' || entry === 'template') continue;
    await cp(join(handler, entry), join(target, entry), { recursive: true, dereference: true });
  }
  for (const path of stack.configuration.copy) {
    await cp(join(repository, path), join(target, basename(path)), { recursive: true, dereference: true });
  }
  return context;
}

/**
 * Puts the packages of `npm ci --omit=dev --omit=optional` into an assembled function: links to the repository's
 * node_modules, of the packages that the lock file marks neither as optional nor as needed for development only.
 */
export async function linkProductionDependencies(context: string): Promise<void> {
  const lock = z
    .object({
      packages: z.record(z.string(), z.object({ dev: z.boolean().optional(), optional: z.boolean().optional() })),
    })
    .parse(JSON.parse(await readFile(join(context, 'function/package-lock.json'), 'utf8')));
  for (const [path, { dev = false, optional = false }] of Object.entries(lock.packages)) {
    // Packages nested in another are linked with it.
    if (dev || optional || !/^node_modules\/(@[^/]+\/)?[^/]+$/.test(path)) continue;
    const link = join(context, 'function', path);
    await mkdir(resolve(link, '..'), { recursive: true });
    await symlink(join(repository, path), link);
  }
}
