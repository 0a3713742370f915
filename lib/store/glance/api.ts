import { z } from 'zod';
import type { FilePart } from '../../http/file-part.ts';
import type { RetryPolicy } from '../../http/retrying.ts';
import { answerError, storeError } from '../openstack/error.ts';
import type { CallOptions, Session } from '../openstack/session.ts';
import { GlanceImage, GlanceImages, glanceRoot, ownTag } from './image.ts';

/** The calls of Glance's API v2 that we use. */
export interface Glance {
  /** Throws UpstreamError; 413 where a quota leaves no room for the image or its properties. */
  create(image: object, options: CallOptions): Promise<GlanceImage>;
  /**
   * One attempt. An answer that the image is gone or has changed its state is transient, too: another image may be
   * made.
   */
  upload(id: string, body: FilePart, options: CallOptions): Promise<void>;
  /** Null where there is none. */
  get(id: string, options: CallOptions): Promise<GlanceImage | null>;
  /** The project's own images with this build id, whatever their state, oldest first. */
  list(buildId: string, options: CallOptions): Promise<GlanceImage[]>;
  /** All active ones of Image Builder, page by page, the newest first; `until`: only those as old as that (ISO 8601). */
  newest(until: string | null, options: CallOptions): AsyncGenerator<readonly GlanceImage[], void>;
  /** The ids of all of Image Builder, whatever their state. */
  ids(options: CallOptions): Promise<ReadonlySet<string>>;
  /**
   * Bytes that the project's quota leaves; null where there is none, or Glance does not report it (before API 2.16).
   */
  room(options: CallOptions): Promise<number | null>;
  /** Allows an image to be deleted. Does nothing where there is none. */
  unprotect(id: string, options: CallOptions): Promise<void>;
  /** Does nothing where there is none. */
  remove(id: string, options: CallOptions & { readonly retry?: RetryPolicy }): Promise<void>;
}

/** In MiB; a limit of -1 means no limit. */
const Usage = z.object({
  usage: z.object({ image_size_total: z.object({ limit: z.number(), usage: z.number() }).optional() }),
});
const MiB = 1024 * 1024;

export function createGlance(session: Session): Glance {
  const path = (rest: string) => (endpoint: string) => `${glanceRoot(endpoint)}/v2${rest}`;
  const call = (
    method: 'GET' | 'POST' | 'DELETE',
    rest: string,
    options: CallOptions & { json?: object; okStatuses?: number[]; retry?: RetryPolicy },
  ) => session.send('image', { method, path: path(rest), ...options });

  async function get(id: string, { signal }: CallOptions): Promise<GlanceImage | null> {
    const answer = await call('GET', `/images/${id}`, { okStatuses: [404], signal });
    return answer.status === 404 ? null : parse(GlanceImage, answer);
  }

  async function* pages(query: Readonly<Record<string, string>>, { signal }: CallOptions) {
    const owner = await session.projectId({ signal });
    let next: string | undefined = `/images?${new URLSearchParams({ ...query, owner, tag: ownTag })}`;
    while (next !== undefined) {
      const page: z.infer<typeof GlanceImages> = parse(GlanceImages, await call('GET', next, { signal }));
      yield page.images;
      next = page.next?.replace(/^\/v2/, '');
    }
  }

  return {
    async create(image, { signal }) {
      return parse(GlanceImage, await call('POST', '/images', { json: image, signal }));
    },
    async upload(id, body, { signal }) {
      await session.upload('image', {
        path: path(`/images/${id}/file`),
        headers: { 'content-type': 'application/octet-stream' },
        body,
        alsoTransient: [404, 409, 410],
        signal,
      });
    },
    get,
    async list(buildId, options) {
      const query = { imagebuilder_build_id: buildId, sort: 'created_at:asc,id:asc' };
      return (await Array.fromAsync(pages(query, options))).flat();
    },
    newest(until, options) {
      // Glance compares with fractions of a second, and shows and takes none.
      const before = until === null ? {} : { created_at: `lte:${wholeSecondAfter(until)}` };
      return pages({ ...before, status: 'active', sort: 'created_at:desc,id:desc', limit: '100' }, options);
    },
    async ids(options) {
      const ids = new Set<string>();
      for await (const page of pages({ sort: 'created_at:desc,id:desc', limit: '1000' }, options)) {
        for (const { id } of page) ids.add(id);
      }
      return ids;
    },
    async room({ signal }) {
      const answer = await call('GET', '/info/usage', { okStatuses: [403, 404], signal });
      const usage = answer.status === 200 ? parse(Usage, answer).usage.image_size_total : undefined;
      return usage === undefined || usage.limit < 0 ? null : Math.max(0, usage.limit - usage.usage) * MiB;
    },
    async unprotect(id, { signal }) {
      await session.send('image', {
        method: 'PATCH',
        path: path(`/images/${id}`),
        headers: { 'content-type': 'application/openstack-images-v2.1-json-patch' },
        json: [{ op: 'replace', path: '/protected', value: false }],
        okStatuses: [404],
        signal,
      });
    },
    async remove(id, options) {
      const answer = await call('DELETE', `/images/${id}`, { ...options, okStatuses: [400, 404] });
      // The second of two concurrent deletions is answered with 400.
      if (answer.status === 400 && (await get(id, options)) !== null) throw answerError('Glance', answer);
    },
  };
}

/** Of an ISO 8601 time, in UTC. */
function wholeSecondAfter(time: string): string {
  return new Date(Date.parse(time) + 1000).toISOString().replace(/\.[0-9]{3}Z$/, 'Z');
}

function parse<Schema extends z.ZodType>(schema: Schema, answer: { readonly text: string }): z.output<Schema> {
  let document: unknown;
  try {
    document = JSON.parse(answer.text);
  } catch {
    document = undefined;
  }
  const result = schema.safeParse(document);
  if (result.success) return result.data;
  throw storeError(`Glance's answer is not understood: ${z.prettifyError(result.error).slice(0, 200)}`, {
    transient: false,
  });
}
