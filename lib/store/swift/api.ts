import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import type { FilePart } from '../../http/file-part.ts';
import { storeError } from '../openstack/error.ts';
import type { Call, CallOptions, Session } from '../openstack/session.ts';

/** The calls of Swift's API v1 that we use, all within one container. */
export interface Container {
  /** Creates it where it is missing. With a key, makes sure that TempURLs can be signed with it. */
  ensure(temporaryUrlKey: string | null, options: CallOptions): Promise<void>;
  /** URL of an object. */
  url(name: string, options: CallOptions): Promise<string>;
  /** Objects whose names begin with `prefix`, in the order of their names; empty where there is no container. */
  list(prefix: string, options: CallOptions): Promise<ListedObject[]>;
  /**
   * The same, page by page, with the names after `after` and before `before`, and when each was put (ISO 8601 in UTC).
   */
  walk(range: ObjectRange, options: CallOptions): AsyncGenerator<readonly DatedObject[], void>;
  /** The head of an object; null where there is none, or where its first segment is missing. */
  look(name: string, options: CallOptions): Promise<ObjectHead | null>;
  /** One attempt. Resolves with the ETag, Swift's MD5 of the body. */
  upload(
    name: string,
    body: FilePart,
    headers: Readonly<Record<string, string>>,
    options: CallOptions,
  ): Promise<string>;
  /** Puts a manifest of segments in the container; Swift checks their ETags and sizes. */
  putManifest(
    name: string,
    segments: readonly ManifestEntry[],
    headers: Readonly<Record<string, string>>,
    options: CallOptions,
  ): Promise<void>;
  /** Bytes that the quotas of container and account leave; null where there is none. */
  room(options: CallOptions): Promise<number | null>;
  /** The segments of a static large object. */
  getManifest(name: string, options: CallOptions): Promise<ListedObject[]>;
  /** The same; empty for an object that is not there, or is none. */
  findManifest(name: string, options: CallOptions): Promise<ListedObject[]>;
  /** Does nothing where there is none. Removes a manifest without its segments. */
  remove(name: string, options: CallOptions & Pick<Call, 'retry'>): Promise<void>;
}

export interface ObjectHead {
  readonly bytes: number;
  readonly etag: string;
  /** Whether it is the manifest of segments. */
  readonly isSegmented: boolean;
  readonly headers: IncomingHttpHeaders;
}

export interface ManifestEntry {
  readonly name: string;
  readonly etag: string;
  readonly bytes: number;
}

export interface ObjectRange {
  readonly prefix: string;
  readonly after?: string;
  readonly before?: string;
}

/** `hash` is the MD5 of its content, or of its manifest. */
const ListedObject = z.object({ name: z.string(), bytes: z.int(), hash: z.string() });
export type ListedObject = z.infer<typeof ListedObject>;

/** Swift's time has no zone: it is UTC. */
const DatedObject = ListedObject.extend({ last_modified: z.string() });
export type DatedObject = z.infer<typeof DatedObject>;

const pageLength = 1000;
const contentType = 'application/octet-stream';

export function openContainer(session: Session, container: string): Container {
  const path = (name: string) => `/${encodeURIComponent(container)}${name === '' ? '' : `/${encodeName(name)}`}`;
  const send = (call: Call) => session.send('object-store', call);

  const manifestPath = (name: string) => `${path(name)}?multipart-manifest=get`;
  function readManifest({ text }: { readonly text: string }): ListedObject[] {
    const prefix = `/${container}/`;
    return parse(z.array(ListedObject), text).map((entry) => ({
      ...entry,
      name: entry.name.startsWith(prefix) ? entry.name.slice(prefix.length) : entry.name,
    }));
  }

  async function* walk({ prefix, after = '', before = '' }: ObjectRange, { signal }: CallOptions) {
    for (let marker = after; ; ) {
      const query = new URLSearchParams({ format: 'json', prefix, marker, limit: String(pageLength) });
      if (before !== '') query.set('end_marker', before);
      const answer = await send({ method: 'GET', path: `${path('')}?${query}`, okStatuses: [404], signal });
      if (answer.status === 404) return;
      const page = parse(z.array(DatedObject), answer.text);
      const last = page.at(-1);
      if (last === undefined) return;
      yield page;
      marker = last.name;
    }
  }

  return {
    async ensure(temporaryUrlKey, { signal }) {
      const keyHeader = 'x-container-meta-temp-url-key';
      const present = await send({ method: 'GET', path: `${path('')}?limit=1`, okStatuses: [404], signal });
      // Swift takes either of two keys; the second may have been set by the container's owner.
      const keys = [present.headers[keyHeader], present.headers[`${keyHeader}-2`]];
      const hasKey = temporaryUrlKey === null || keys.includes(temporaryUrlKey);
      if (present.status !== 404 && hasKey) return;
      const headers = temporaryUrlKey === null ? {} : { [keyHeader]: temporaryUrlKey };
      // PUT on an existing container changes only its metadata.
      await send({ method: 'PUT', path: path(''), headers, signal });
    },
    async url(name, options) {
      return (await session.endpoint('object-store', options)).url + path(name);
    },
    walk,
    async list(prefix, options) {
      return (await Array.fromAsync(walk({ prefix }, options))).flat();
    },
    async look(name, { signal }) {
      // GET of one byte: Swift 2.30 ends its 404 and 503 to HEAD as if they had a body, which is not HTTP.
      const headers = { range: 'bytes=0-0' };
      const answer = await send({ method: 'GET', path: path(name), headers, okStatuses: [404, 409, 416], signal });
      if (answer.status === 404 || answer.status === 409) return null;
      return {
        // Of `bytes 0-0/1234`; an empty object says `bytes */0`.
        bytes: Number(/\/([0-9]+)$/.exec(answer.headers['content-range'] ?? '')?.[1] ?? 0),
        etag: unquoted(answer.headers.etag),
        isSegmented: answer.headers['x-static-large-object'] !== undefined,
        headers: answer.headers,
      };
    },
    async upload(name, body, headers, { signal }) {
      const answer = await session.upload('object-store', {
        path: path(name),
        headers: { 'content-type': contentType, ...headers },
        body,
        signal,
      });
      return unquoted(answer.headers.etag);
    },
    async putManifest(name, segments, headers, { signal }) {
      await send({
        method: 'PUT',
        path: `${path(name)}?multipart-manifest=put`,
        headers: { 'content-type': contentType, ...headers },
        json: segments.map((segment) => ({
          path: `/${container}/${segment.name}`,
          etag: segment.etag,
          size_bytes: segment.bytes,
        })),
        signal,
      });
    },
    async room({ signal }) {
      const rooms = await Promise.all(
        ['account', 'container'].map(async (kind) => {
          const call = { method: 'GET', path: `${kind === 'account' ? '' : path('')}?limit=1`, signal } as const;
          const { headers } = await send(call);
          const quota = headers[`x-${kind}-meta-quota-bytes`];
          return quota === undefined ? [] : [Number(quota) - Number(headers[`x-${kind}-bytes-used`])];
        }),
      );
      const known = rooms.flat();
      return known.length === 0 ? null : Math.min(...known);
    },
    async getManifest(name, { signal }) {
      return readManifest(await send({ method: 'GET', path: manifestPath(name), signal }));
    },
    async findManifest(name, { signal }) {
      const answer = await send({ method: 'GET', path: manifestPath(name), okStatuses: [404], signal });
      return answer.headers['x-static-large-object'] === undefined ? [] : readManifest(answer);
    },
    async remove(name, options) {
      await send({ method: 'DELETE', path: path(name), okStatuses: [404], ...options });
    },
  };
}

/** An ETag without the quotes that RFC 9110 asks for and Swift mostly leaves out. */
function unquoted(etag: string | undefined): string {
  return (etag ?? '').replace(/^"(.*)"$/, '$1');
}

const encodeName = (name: string) => name.split('/').map(encodeURIComponent).join('/');

function parse<Schema extends z.ZodType>(schema: Schema, text: string): z.output<Schema> {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    throw storeError("Swift's answer is not understood", { transient: false });
  }
}
