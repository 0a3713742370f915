import { z } from 'zod';
import type { OpenStackConfiguration } from './configuration.ts';
import type { Identity } from './credentials.ts';
import { answerError, storeError } from './error.ts';
import type { Transport } from './transport.ts';

/** Tokens from Keystone: identity API v3, POST /v3/auth/tokens. */

const Catalog = z.array(
  z.object({
    type: z.string(),
    name: z.string().nullish(),
    endpoints: z.array(
      z.object({
        interface: z.string(),
        region_id: z.string().nullish(),
        region: z.string().nullish(),
        url: z.string(),
      }),
    ),
  }),
);
export type Catalog = z.infer<typeof Catalog>;

const TokenAnswer = z.object({
  token: z.object({
    issued_at: z.string(),
    expires_at: z.string(),
    project: z.object({ id: z.string() }).optional(),
    catalog: Catalog.optional(),
  }),
});

export interface Token {
  /** The value of X-Auth-Token: a secret. */
  readonly id: string;
  readonly projectId: string;
  readonly catalog: Catalog;
  /** Time to replace it, by this machine's clock, in milliseconds since the epoch. */
  readonly renewAt: number;
}

/** A token is replaced when this share of its life is left, but at most this long before its end. */
const renewFraction = 0.2;
const renewMs = 5 * 60_000;

/** Asks for a token once. Throws UpstreamError, transient where Keystone is out of reach. */
export async function authenticate(
  configuration: Pick<OpenStackConfiguration, 'authUrl' | 'identity' | 'source'>,
  transport: Transport,
  signal: AbortSignal,
): Promise<Token> {
  const asked = Date.now();
  const answer = await transport.send({
    server: 'Keystone',
    method: 'POST',
    url: `${configuration.authUrl}/auth/tokens`,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ auth: authentication(configuration.identity) }),
    signal,
  });
  if (answer.status === 401) {
    // Keystone answers the same for every wrong part of the credentials.
    const what = subjects[configuration.identity.kind];
    throw storeError(`Keystone at ${configuration.authUrl} does not accept the ${what} of ${configuration.source}`, {
      transient: false,
      upstreamStatus: 401,
    });
  }
  if (answer.status !== 201) throw answerError('Keystone', answer);
  const id = answer.headers['x-subject-token'];
  const { token } = parseToken(answer.text, configuration.authUrl);
  if (typeof id !== 'string') throw notKeystone(configuration.authUrl);
  if (token.project === undefined || token.catalog === undefined) {
    throw storeError('the token that Keystone issued belongs to no project, so it has no catalogue', {
      transient: false,
    });
  }
  // Counted from the request, so that the clocks of the two machines need not agree.
  const lifetimeMs = Date.parse(token.expires_at) - Date.parse(token.issued_at);
  const renewAt = asked + lifetimeMs - Math.min(lifetimeMs * renewFraction, renewMs);
  return { id, projectId: token.project.id, catalog: token.catalog, renewAt };
}

const subjects: Readonly<Record<Identity['kind'], string>> = {
  password: 'user, password or project',
  token: 'token (it may have expired) or project',
  application_credential: 'application credential or its secret',
};

function authentication(identity: Identity): object {
  if (identity.kind === 'token') {
    return { identity: { methods: ['token'], token: { id: identity.token } }, scope: identity.scope };
  }
  if (identity.kind === 'password') {
    const user = { ...identity.user, password: identity.password };
    return { identity: { methods: ['password'], password: { user } }, scope: identity.scope };
  }
  const { credential, secret } = identity;
  return { identity: { methods: ['application_credential'], application_credential: { ...credential, secret } } };
}

function parseToken(text: string, authUrl: string): z.infer<typeof TokenAnswer> {
  try {
    return TokenAnswer.parse(JSON.parse(text));
  } catch {
    throw notKeystone(authUrl);
  }
}

function notKeystone(authUrl: string): Error {
  return storeError(`what answers at ${authUrl} is not Keystone's API of version 3`, { transient: false });
}
