import { z } from 'zod';
import { formatPpa, type Ppa } from '../api/ppa.ts';
import { type ErrorCode, ImageBuilderError, safeUrl } from '../errors.ts';
import type { HttpClient } from '../http/client.ts';
import { UpstreamError } from '../http/upstream-error.ts';
import type { IdRange } from '../privileges.ts';
import { readSigningKey, type SigningKey } from './signing-key.ts';

/** A PPA that exists, publishes for the series, and whose signing key is known. */
export interface PpaSource {
  readonly ppa: Ppa;
  /** Where the archive is, without a slash at the end: `https://ppa.launchpadcontent.net/owner/name/ubuntu`. */
  readonly url: string;
  readonly key: SigningKey;
}

export interface LaunchpadOptions {
  /** Without a slash at the end, such as `https://api.launchpad.net/devel`. */
  readonly launchpadApiUrl: string;
  /** Without a slash at the end, such as `https://ppa.launchpadcontent.net`. */
  readonly ppaUrl: string;
  readonly series: string;
  readonly client: Pick<HttpClient, 'getJson' | 'head'>;
  /** An existing folder that only this build uses. */
  readonly workDirectory: string;
  /** The user ids for gpg where this process is root. */
  readonly unprivilegedIds: IdRange;
  readonly signal: AbortSignal;
}

/** Launchpad's archive resource (its API's `archive`), as far as it is used; null before the first publication. */
const Archive = z.object({
  signing_key_fingerprint: z
    .string()
    .regex(/^([0-9A-Fa-f]{40})?$/)
    .nullable(),
});
/** The key in ASCII armour, as a JSON string. */
const SigningKeyData = z.string().min(1);

const maximumAnswerBytes = 1024 * 1024;

/**
 * Looks a PPA up in Launchpad and fetches its signing key. Every build asks anew, because Launchpad replaces weak keys.
 * The key comes from Launchpad's API alone: no keyserver has a part in it. Throws `ppa.not_found`, `ppa.series`,
 * `ppa.key`, `upstream.forbidden` for private PPAs, or the client's errors, with the name of the PPA added.
 */
export async function resolvePpa(ppa: Ppa, options: LaunchpadOptions): Promise<PpaSource> {
  const name = formatPpa(ppa);
  const api = `${options.launchpadApiUrl}/~${ppa.owner}/+archive/ubuntu/${ppa.name}`;
  const url = `${options.ppaUrl}/${ppa.owner}/${ppa.name}/ubuntu`;
  const archive = await ask(Archive, api, 'ppa.not_found', name, options);
  const fingerprint = archive.signing_key_fingerprint;
  if (fingerprint === null || fingerprint === '') {
    throw new ImageBuilderError('ppa.series', `${name} has no signing key yet: nothing was ever published in it`);
  }
  const [material] = await Promise.all([
    ask(SigningKeyData, `${api}?ws.op=getSigningKeyData`, 'ppa.key', name, options),
    assertPublished(url, name, options),
  ]);
  return { ppa, url, key: await readSigningKey(material, fingerprint, name, options) };
}

async function ask<Output>(
  schema: z.ZodType<Output>,
  url: string,
  notFoundCode: ErrorCode,
  name: string,
  options: LaunchpadOptions,
): Promise<Output> {
  const { client, signal } = options;
  const answer = await client
    .getJson(url, { signal, maximumBytes: maximumAnswerBytes, notFoundCode })
    .catch((error: unknown) => {
      throw explain(error, name, `Launchpad cannot be asked about ${name}`, options);
    });
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new ImageBuilderError(
    'upstream.unusable',
    `${safeUrl(url)} answered something else about ${name} than it should`,
  );
}

/**
 * Throws unless the PPA is published for the series. Every PPA publishes InRelease today; archives of long ago may have
 * only Release.
 */
async function assertPublished(url: string, name: string, options: LaunchpadOptions): Promise<void> {
  const look = (file: string) =>
    options.client.head(`${url}/dists/${options.series}/${file}`, {
      signal: options.signal,
      notFoundCode: 'ppa.series',
    });
  try {
    await look('InRelease').catch((error: unknown) => {
      if (isCode(error, 'ppa.series')) return look('Release');
      throw error;
    });
  } catch (error) {
    throw explain(error, name, `${name} cannot be reached`, options);
  }
}

/** The same error in terms of the PPA. `failure` describes the failed step where the server's status does not. */
function explain(error: unknown, name: string, failure: string, { series }: LaunchpadOptions): unknown {
  if (isCode(error, 'ppa.not_found')) {
    const message = `Launchpad knows no ${name}: check the spelling of owner and name, and that the PPA is public`;
    return new ImageBuilderError('ppa.not_found', message, { cause: error });
  }
  if (isCode(error, 'ppa.series')) {
    const message = `${name} publishes nothing for the series "${series}"`;
    return new ImageBuilderError('ppa.series', message, { cause: error });
  }
  if (isCode(error, 'ppa.key')) {
    return new ImageBuilderError('ppa.key', `Launchpad does not give the signing key of ${name}`, { cause: error });
  }
  if (!(error instanceof ImageBuilderError)) return error;
  const message =
    error instanceof UpstreamError && error.upstreamStatus === 401
      ? `${name} is private: private PPAs are not supported yet`
      : `${failure}: ${error.message}`;
  const { retryAfterSeconds } = error;
  return new ImageBuilderError(error.code, message, {
    cause: error,
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  });
}

function isCode(error: unknown, code: ErrorCode): boolean {
  return error instanceof ImageBuilderError && error.code === code;
}
