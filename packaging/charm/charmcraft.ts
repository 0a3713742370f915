import { parse } from 'yaml';
import { z } from 'zod';
import { Actions } from './actions.ts';
import { faultOf } from './faults.ts';
import { Name, Text } from './names.ts';
import { Options } from './options.ts';

/**
 * charmcraft.yaml, by the rules of charmcraft, of its linter and of Juju. charmcraft's JSON schema lets most mistakes
 * pass; they would come to light in `charmcraft pack`, in `juju deploy`, or in a hook. Keys that this charm does not need are
 * refused, since nobody has tried them.
 */

const Relation = z.strictObject({
  interface: Text.regex(/^[a-z][a-z0-9_-]*$/, 'must be the name of an interface, such as keystone-credentials'),
  limit: z.int().min(1).optional(),
  optional: z.boolean().optional(),
  scope: z.enum(['global', 'container']).optional(),
});

const Relations = z.record(
  Name.refine((name) => name !== 'juju' && !name.startsWith('juju-'), 'must not begin with juju, which Juju reserves'),
  Relation,
);

const Storage = z
  .strictObject({
    type: z.enum(['filesystem', 'block']),
    description: Text,
    location: z.string().startsWith('/', 'must be an absolute path').optional(),
    'minimum-size': z
      .string()
      .regex(/^[0-9]+[MGT]$/, 'must be a number with the unit M, G or T, such as 20G')
      .optional(),
    multiple: z
      .strictObject({
        range: z.string().regex(/^[0-9]+(?:[-+]|-[1-9][0-9]*)$/, 'must be a range of numbers, such as 0-1 or 1+'),
      })
      .optional(),
  })
  .refine(({ type, location }) => type === 'filesystem' || location === undefined, {
    path: ['location'],
    message: 'is for the type filesystem only',
  });

const Resource = z.strictObject({
  type: z.literal('file', { error: 'must be file: others are for Kubernetes' }),
  filename: Text.refine((name) => !name.includes('/'), 'must be a name without a folder'),
  description: Text,
});

const Part = z.strictObject({
  plugin: z.literal('dump', { error: 'must be dump: other plugins build charms of other languages' }),
  source: Text,
  prime: z.array(Text).min(1),
});

/** Architectures for which package-lock.json has Node. */
const Platforms = z
  .strictObject({ amd64: z.null().optional(), arm64: z.null().optional() })
  .refine((platforms) => Object.keys(platforms).length > 0, { error: 'must have amd64 or arm64' });

const Link = z.url({ protocol: /^https?$/ });
const Links = z.strictObject({
  contact: z.array(Text).optional(),
  documentation: Link.optional(),
  issues: z.array(Link).optional(),
  source: z.array(Link).optional(),
  website: z.array(Link).optional(),
});

const Charmcraft = z
  .strictObject({
    name: Name.max(40),
    title: Text.min(2).max(40),
    type: z.literal('charm'),
    summary: Text.max(78).refine((text) => !text.includes('\n'), 'must be one line'),
    description: Text,
    base: z.literal('ubuntu@24.04'),
    platforms: Platforms,
    parts: z.record(Name, Part).refine((parts) => Object.keys(parts).length === 1, 'must have one part'),
    assumes: z
      .array(
        z
          .string()
          .regex(
            /^juju (?:>=|<) [0-9]+\.[0-9]+(?:\.[0-9]+)?$/,
            'must compare the version of Juju, as juju >= 3.4 does',
          ),
      )
      .optional(),
    links: Links.optional(),
    provides: Relations.optional(),
    requires: Relations.optional(),
    peers: Relations.optional(),
    'extra-bindings': z.record(Name, z.null()).optional(),
    storage: z.record(Name, Storage).optional(),
    resources: z.record(Name, Resource).optional(),
    config: z.strictObject({ options: Options }).optional(),
    actions: Actions.optional(),
  })
  .superRefine(({ provides, requires, peers, 'extra-bindings': bindings }, context) => {
    const seen = new Map<string, string>();
    for (const [section, names] of Object.entries({ provides, requires, peers, 'extra-bindings': bindings })) {
      for (const name of Object.keys(names ?? {})) {
        const other = seen.get(name);
        if (other !== undefined) {
          context.addIssue({ code: 'custom', path: [section, name], message: `has the name of one in ${other}` });
        }
        seen.set(name, section);
      }
    }
  });

/** The content of charmcraft.yaml. */
export type Charmcraft = z.infer<typeof Charmcraft>;

/** Reads the text of charmcraft.yaml. Throws one error that names every fault by its place in the file. */
export function readCharmcraft(text: string): Charmcraft {
  let content: unknown;
  try {
    content = parse(text);
  } catch (error) {
    throw new Error(`charmcraft.yaml is not YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
  const result = Charmcraft.safeParse(content, { error: faultOf });
  if (result.success) return result.data;
  const faults = result.error.issues.map(({ path, message }) => `${['charmcraft.yaml', ...path].join('.')} ${message}`);
  throw new Error(faults.join('\n'));
}
