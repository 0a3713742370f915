import { z } from 'zod';
import { ImageBuilderError, type RequestFault } from '../errors.ts';
import { BaseImage } from './base-image.ts';
import { DebconfSelections } from './debconf.ts';
import { check } from './faults.ts';
import { field } from './field.ts';
import { Architecture, PackageName, PackageSpecification } from './package.ts';
import { Ppa } from './ppa.ts';
import { HttpUrl } from './url.ts';

/**
 * The schema of the body of `POST /api/v1/build_image/`. It checks the whole body, so that one answer names every
 * fault.
 */

/** A name that AMQP 0-9-1 allows for an exchange (section 1.1, `exchange-name`), and that is not the broker's own. */
export const ExchangeName = z
  .string()
  .regex(/^[A-Za-z0-9_.:-]{1,127}$/, {
    error: 'must be an AMQP exchange name: 1 to 127 letters, digits, "-", "_", "." or ":"',
  })
  .refine((name) => !name.startsWith('amq.') && !name.startsWith('imagebuilder.'), {
    error: 'must not begin with "amq." or "imagebuilder.": those belong to the broker and to Image Builder',
  });

const ticketError = 'must be a string of 1 to 256 characters or a whole number';
/** The caller's own name of a job: the original callers send strings, others numbers. */
export const TicketId = z.union([z.string().min(1, { error: ticketError }).max(256, { error: ticketError }), z.int()], {
  error: ticketError,
});

/** A size of a disk in whole MiB, GiB or TiB, such as `20GiB`. */
const DiskSize = z.string({ error: 'must be a text such as "20GiB"' }).regex(/^[1-9][0-9]{0,8}(MiB|GiB|TiB)$/, {
  error: 'must be a whole number with MiB, GiB or TiB, such as "20GiB"',
});

/** Bytes of a size of a disk that the schema has let pass. */
export function diskSizeBytes(size: z.infer<typeof DiskSize>): number {
  return Number(size.slice(0, -3)) * 1024 ** (2 + ['MiB', 'GiB', 'TiB'].indexOf(size.slice(-3)));
}

/** Format of the finished image. */
const OutputFormat = z.enum(['qcow2', 'raw'], { error: 'must be "qcow2" or "raw"' });
export type OutputFormat = z.infer<typeof OutputFormat>;

/** A request for any of the kinds of image whose base images the schema takes. */
export function buildRequest<Base extends z.ZodType>(base: Base) {
  return z.strictObject({
    ticket_id: field(TicketId, 'The caller’s own name of the job; it stands in every event.', 'T-77'),
    cancel_url: field(
      HttpUrl.nullable(),
      'Looked at every few seconds: only a JSON answer with `"building": false` cancels the build. Errors and other answers are tolerated.',
      'http://lander.example.org/tickets/T-77',
    ).default(null),
    base_image: base,
    ppa_list: field(
      z.array(Ppa).max(64, { error: 'must hold at most 64 PPAs' }),
      'PPAs that packages are taken from: `ppa:owner/name`, `ppa:owner` or `ppa:owner/ubuntu/name`.',
      ['ppa:example/tools'],
    ).default([]),
    package_list: field(
      z.array(PackageSpecification).max(1024, { error: 'must hold at most 1024 packages' }),
      'Packages to install, each optionally with `:arch` and with `=version` or `/suite`.',
      ['hello', 'tree=1.6.0-1'],
    ).default([]),
    debconf_selections: field(
      DebconfSelections,
      'Answers to questions of packages, for debconf-set-selections: lines `owner question type value`, or objects with these members. Answers of the type `password` appear in no log, event or error.',
      ['tzdata tzdata/Areas select Europe'],
    ).default([]),
    foreign_architectures: field(
      z.array(Architecture).max(8, { error: 'must hold at most 8 architectures' }),
      'Architectures that dpkg enables before the package lists are updated.',
      ['i386'],
    ).default([]),
    allow_downgrades: field(
      z.boolean({ error: 'must be true or false' }),
      'Whether packages may be replaced by older versions: those named with `=version` in `package_list`, and what they need.',
      true,
    ).default(false),
    hold_packages: field(
      z.array(PackageName).max(1024, { error: 'must hold at most 1024 packages' }),
      'Packages that are on hold (`apt-mark hold`) in the finished image. They must be installed there.',
      ['hello'],
    ).default([]),
    disk_size: field(
      DiskSize,
      'Size that the disk grows to, with its root, before anything is installed. Not below the disk of the base image.',
      '20GiB',
    ).optional(),
    output_format: field(
      OutputFormat,
      'Format of the finished image, whatever the format of the base image: a compressed qcow2, or a raw disk.',
      'raw',
    ).default('qcow2'),
    boot_check: field(
      z.boolean({ error: 'must be true or false' }),
      'Whether the finished image is booted before it is stored, from a copy that is thrown away, without a network. The build fails where it does not come up.',
      true,
    ).default(false),
    reuse: field(
      z.boolean({ error: 'must be true or false' }),
      'Whether the image of an earlier build of the same caller may be stored once more, where the worker still has it and building anew would put the same files of the same repositories into the same base image.',
      false,
    ).default(true),
    progress_trigger: field(
      ExchangeName,
      'The AMQP exchange that gets the events. It is the caller’s: Image Builder looks it up and never declares it.',
      'lander.progress',
    ),
    callback_url: field(
      HttpUrl.nullable(),
      'Gets the last event of the build in one POST. The header `X-Callback-Url` does the same, and wins.',
      'https://lander.example.org/builds/T-77',
    ).optional(),
  });
}

export const BuildRequest = buildRequest(BaseImage);
/** A request as it is after validation: PPAs are parsed, defaults filled in. */
export type BuildRequest = z.infer<typeof BuildRequest>;
/** The name of a kind of image in a request. */
export type ImageType = BuildRequest['base_image']['image_type'];
/** A request as a caller writes it. */
export type BuildRequestInput = z.input<typeof BuildRequest>;

/** Further faults are counted but not listed: a small body must not get a large answer. */
const maximumFaults = 100;

/**
 * Checks a parsed JSON body. Throws `request.invalid` with every fault (the first 100) and its JSONPath, including
 * `others`: faults of the same call that are not in its body.
 */
export function parseBuildRequest(body: unknown, others: readonly RequestFault[] = []): BuildRequest {
  const checked = check(BuildRequest, body);
  if (checked.faults === null && others.length === 0) return checked.value;
  const faults = [...others, ...(checked.faults ?? [])];
  throw new ImageBuilderError(
    'request.invalid',
    `the request has ${faults.length === 1 ? 'one fault' : `${faults.length} faults`}: ${faults
      .slice(0, 3)
      .map((fault) => `${fault.path} ${fault.message}`)
      .join('; ')}${faults.length > 3 ? '; …' : ''}`,
    { faults: faults.slice(0, maximumFaults) },
  );
}
