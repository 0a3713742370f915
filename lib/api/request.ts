import { z } from 'zod';
import { ImageBuilderError, type RequestFault } from '../errors.ts';
import { BaseImage } from './base-image.ts';
import { DebconfSelections } from './debconf.ts';
import { check } from './faults.ts';
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
    ticket_id: TicketId,
    cancel_url: HttpUrl.nullable().default(null),
    base_image: base,
    ppa_list: z.array(Ppa).max(64, { error: 'must hold at most 64 PPAs' }).default([]),
    package_list: z.array(PackageSpecification).max(1024, { error: 'must hold at most 1024 packages' }).default([]),
    debconf_selections: DebconfSelections.default([]),
    foreign_architectures: z.array(Architecture).max(8, { error: 'must hold at most 8 architectures' }).default([]),
    allow_downgrades: z.boolean({ error: 'must be true or false' }).default(false),
    hold_packages: z.array(PackageName).max(1024, { error: 'must hold at most 1024 packages' }).default([]),
    disk_size: DiskSize.optional(),
    output_format: OutputFormat.default('qcow2'),
    boot_check: z.boolean({ error: 'must be true or false' }).default(false),
    progress_trigger: ExchangeName,
    callback_url: HttpUrl.nullable().optional(),
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
