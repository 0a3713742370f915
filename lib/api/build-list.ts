import { z } from 'zod';
import { Series } from './base-image.ts';
import { BuildState } from './event.ts';
import { field } from './field.ts';
import { BuildStatus, exampleBuild } from './status.ts';

/** The query and the answer of `GET /api/v1/build_image/`. */

export const defaultPage = 50;
export const largestPage = 200;

/** The place in the order of builds after which a page begins. As text, a cursor says nothing to callers. */
export const Cursor = z.codec(z.base64url().max(200), z.tuple([z.iso.datetime(), z.uuid()]), {
  decode(text, context) {
    const [queuedAt = '', buildId = ''] = Buffer.from(text, 'base64url').toString('latin1').split(' ');
    if (buildId === '') context.issues.push({ code: 'custom', message: 'is no cursor', input: text });
    return [queuedAt, buildId] as [string, string];
  },
  encode: (place) => Buffer.from(place.join(' '), 'latin1').toString('base64url'),
});

/** Each parameter narrows the list; a build must match all of them. */
export const ListQuery = z.strictObject({
  limit: z
    .string()
    .regex(/^[0-9]{1,3}$/, { error: `must be a number from 1 to ${largestPage}` })
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= largestPage, { error: `must be a number from 1 to ${largestPage}` })
    .default(defaultPage),
  /** `next_cursor` of the page before. */
  cursor: Cursor.optional(),
  state: BuildState.optional(),
  ticket_id: z.string().min(1).max(256).optional(),
  series: Series.optional(),
});
export type ListQuery = z.infer<typeof ListQuery>;

/** One page, the newest submission first. */
export const BuildPage = z.object({
  builds: field(z.array(BuildStatus), 'The builds of the page.', [exampleBuild]),
  next_cursor: field(z.string().nullable(), 'Cursor of the next page; null on the last one.', null),
});
export type BuildPage = z.infer<typeof BuildPage>;
