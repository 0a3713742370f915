import { z } from 'zod';
import { field } from './field.ts';
import { HttpUrl } from './url.ts';

/** `base_image` of a request: one schema for each kind of image, told apart by `image_type`. */

const UrlList = z
  .array(HttpUrl, { error: 'must be a list of URLs' })
  .min(1, { error: 'must hold at least one URL' })
  .max(32, { error: 'must hold at most 32 URLs' });

/** A series name as in `dists/<series>`: `trusty`, `noble`. */
export const Series = z.string().regex(/^[a-z][a-z0-9-]{1,31}$/, {
  error: 'must be a series name such as "trusty": lower-case letters, digits and "-"',
});

/** A digest that the image must have, with its algorithm. */
const Checksum = z
  .string({ error: 'must be a text such as "sha256:…"' })
  .regex(/^(sha256:[0-9a-fA-F]{64}|sha384:[0-9a-fA-F]{96}|sha512:[0-9a-fA-F]{128})$/, {
    error: 'must be "sha256:", "sha384:" or "sha512:" and the digest in hexadecimal',
  })
  .toLowerCase();

/** The schema of one kind: the members that all kinds have, and those of its own. */
export function baseImage<const Type extends string, Own extends z.ZodRawShape>(imageType: Type, own: Own) {
  return z.strictObject({
    image_type: field(
      z.literal(imageType, { error: `must be ${JSON.stringify(imageType)}` }),
      'The kind of image.',
      imageType,
    ),
    url_list: field(
      UrlList,
      'URLs of the image, and of lists of checksums and signatures. The image is found by its content; several URLs of the same image are mirrors, tried in order.',
      ['https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img'],
    ),
    series: field(Series, 'The series that the image must have; it chooses what is taken from the PPAs.', 'noble'),
    checksum: field(
      Checksum,
      'The digest that the file of the image must have, as it is downloaded.',
      `sha256:${'9f86d081884c7d65'.repeat(4)}`,
    ).optional(),
    ...own,
  });
}

/** The members of a CD image. */
export const CdChoice = z.strictObject(
  {
    source: field(
      z
        .string({ error: 'must be the id of a source, as install-sources.yaml of the medium has it' })
        .min(1, { error: 'must not be empty' })
        .max(200, { error: 'must have at most 200 characters' }),
      'Id of the installation source that gets the change, as `install-sources.yaml` of the medium has it; the default is the default source.',
      'ubuntu-server-minimal',
    ).optional(),
    live: field(
      z.boolean({ error: 'must be true or false' }),
      'True: the live session gets the change, even if it does not stand on the layer of the source. False: the build fails if the live session would get it. By default it gets the change if it stands on that layer.',
      true,
    ).optional(),
    compact: field(
      z.boolean({ error: 'must be true or false' }),
      'True: each changed layer is compressed anew, which takes minutes and leaves nothing in it that no file uses. By default what is compressed is copied.',
      true,
    ).optional(),
  },
  { error: 'must be an object such as {"source": "ubuntu-server"}' },
);

export type CdChoice = z.infer<typeof CdChoice>;

type KindSchema = ReturnType<typeof baseImage<string, z.ZodRawShape>>;

/**
 * The base image of any of these kinds. Where `image_type` is none of theirs, the faults that the rest has for every
 * kind are found too (`check`).
 */
export function anyBaseImage<const Kinds extends readonly [KindSchema, ...KindSchema[]]>(kinds: Kinds) {
  return z.discriminatedUnion('image_type', kinds, { unionFallback: true, error: 'must be an object' });
}

const cdBaseImage = baseImage('cd', {
  cd: field(CdChoice, 'How the medium is changed.', { compact: true }).optional(),
});

/** Every kind that can be built; `lib/kinds/index.ts` has the code of each. */
export const BaseImage = field(
  anyBaseImage([baseImage('cloud', {}), cdBaseImage, baseImage('touch', {})]),
  'The image to begin with; its members depend on `image_type`.',
  {
    image_type: 'cloud',
    url_list: ['https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img'],
    series: 'noble',
  },
);
