import { z } from 'zod';
import { storeError } from '../openstack/error.ts';
import type { CallOptions, Session } from '../openstack/session.ts';

/** The cluster's description of itself at /info, which needs no token. */

export interface SwiftLimits {
  readonly maximumFileBytes: number;
  /** Null where the cluster has no static large objects. */
  readonly maximumSegments: number | null;
  /** Algorithms that TempURLs may be signed with; empty where there are no TempURLs. */
  readonly temporaryUrlDigests: readonly string[];
}

const Info = z.object({
  swift: z.object({ max_file_size: z.int().positive().optional() }),
  slo: z.object({ max_manifest_segments: z.int().positive().optional() }).optional(),
  tempurl: z.object({ allowed_digests: z.array(z.string()).optional() }).optional(),
});

/** The digest of clusters whose TempURLs are older than the list of digests in /info. */
const oldDigests = ['sha1'];

/** Swift's own defaults, for clusters that do not publish /info. */
const defaults: SwiftLimits = {
  maximumFileBytes: 5 * 1024 ** 3 + 2,
  maximumSegments: 1000,
  temporaryUrlDigests: ['sha256'],
};

/** Reads the limits. Throws UpstreamError. */
export async function readLimits(session: Session, { signal }: CallOptions): Promise<SwiftLimits> {
  const answer = await session.send('object-store', {
    method: 'GET',
    // http://host/swift/v1/AUTH_x belongs to http://host/swift/info
    path: (endpoint) => infoPath(endpoint),
    okStatuses: [403, 404],
    signal,
  });
  if (answer.status >= 400) return defaults;
  const info = Info.safeParse(parse(answer.text));
  if (!info.success) return defaults;
  const { swift, slo, tempurl } = info.data;
  return {
    maximumFileBytes: swift.max_file_size ?? defaults.maximumFileBytes,
    maximumSegments: slo === undefined ? null : (slo.max_manifest_segments ?? defaults.maximumSegments),
    temporaryUrlDigests: tempurl === undefined ? [] : (tempurl.allowed_digests ?? oldDigests),
  };
}

/** The endpoint without `/v1` and the rest of the path after it. */
function infoPath(endpoint: string): string {
  if (endpoint.endsWith('/v1')) return `${endpoint.slice(0, -'/v1'.length)}/info`;
  const place = endpoint.indexOf('/v1/');
  return place < 0 ? endpoint : `${endpoint.slice(0, place)}/info`;
}

export interface Segment {
  readonly startByte: number;
  readonly bytes: number;
}

/**
 * Plans the parts of an image: one part where it is within `segmentBytes` and the cluster's limit, otherwise parts of
 * that size, larger ones where there would be too many. Throws `store.refused` where the cluster cannot hold the image.
 */
export function planSegments(sizeBytes: number, segmentBytes: number, limits: SwiftLimits): Segment[] {
  const { maximumFileBytes, maximumSegments } = limits;
  let partBytes = Math.min(segmentBytes, maximumFileBytes);
  if (sizeBytes > partBytes) {
    if (maximumSegments === null) partBytes = maximumFileBytes;
    else partBytes = Math.max(partBytes, Math.ceil(sizeBytes / maximumSegments));
    if (partBytes > maximumFileBytes || (maximumSegments === null && sizeBytes > partBytes)) {
      const most = maximumFileBytes * (maximumSegments ?? 1);
      throw storeError(`Swift takes at most ${most} bytes, and the image has ${sizeBytes}`, {
        transient: false,
      });
    }
  }
  const segments: Segment[] = [];
  for (let startByte = 0; startByte < sizeBytes || startByte === 0; startByte += partBytes) {
    segments.push({ startByte, bytes: Math.min(partBytes, sizeBytes - startByte) });
  }
  return segments;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
