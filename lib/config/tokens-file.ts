import { LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import {
  anonymous,
  type CallerLimits,
  CallerName,
  digestToken,
  maximumBuildsAnHour,
  operator,
  roles,
  type TokenHolder,
} from '../callers.ts';
import type { RequestFault } from '../errors.ts';

/** The secret `imagebuilder-tokens`: the callers of the API with their tokens, as YAML or JSON. */

const count = (minimum: number, maximum: number) => {
  const error = `must be a whole number from ${minimum} to ${maximum}`;
  return z.int({ error }).min(minimum, { error }).max(maximum, { error }).optional();
};

const Limits = z.strictObject(
  {
    unfinished_builds: count(1, 10_000),
    builds_an_hour: count(1, maximumBuildsAnHour),
    packages: count(0, 1_024),
  },
  { error: 'must be an object with unfinished_builds, builds_an_hour and packages, or some of them' },
) satisfies z.ZodType<CallerLimits>;

/** RFC 6750's b64token. A digest without salt hides a token only when trying all tokens of its length is impossible. */
const tokenError =
  'must be a token of at least 32 letters, digits and any of "-._~+/", or "sha256:" and the digest of one in lower-case hex';
const Token = z
  .string({ error: tokenError })
  .regex(/^([A-Za-z0-9._~+/-]{32,512}={0,2}|sha256:[0-9a-f]{64})$/, { error: tokenError });

const Entry = z.strictObject(
  {
    name: CallerName.refine((name) => name !== anonymous.name && name !== operator.name, {
      error: `must be another name: "${anonymous.name}" and "${operator.name}" are taken`,
    }),
    role: z.enum(roles, { error: `must be one of ${roles.join(', ')}` }),
    /** Several tokens while one replaces the other. */
    token: z.preprocess(
      (value) => (typeof value === 'string' ? [value] : value),
      z
        .array(Token, { error: 'must be a token or a list of tokens' })
        .min(1, { error: 'must hold at least one token' })
        .max(8, { error: 'must hold at most 8 tokens' }),
    ),
    limits: Limits.default({}),
  },
  { error: 'must be an object with name, role and token, and nothing else but limits' },
);

/** The file as a whole. */
const TokensFile = z
  .strictObject(
    {
      callers: z
        .array(Entry, { error: 'must be a list of callers' })
        .min(1, { error: 'must hold at least one caller' })
        .max(100, { error: 'must hold at most 100 callers' }),
    },
    { error: 'must be an object with the list callers, and nothing else' },
  )
  .check(({ value: { callers }, issues }) => {
    const names = new Set<string>();
    const digests = new Set<string>();
    const take = (taken: Set<string>, value: string, path: PropertyKey[], message: string) => {
      if (taken.has(value)) issues.push({ code: 'custom', path, message, input: undefined });
      taken.add(value);
    };
    for (const [index, { name, token }] of callers.entries()) {
      take(names, name, ['callers', index, 'name'], 'must be unlike every name before');
      for (const [position, one] of token.entries()) {
        const path = ['callers', index, 'token', position];
        take(digests, digestOf(one), path, 'must be unlike every token before');
      }
    }
  });

export interface ReadTokens {
  readonly tokenHolders: readonly TokenHolder[];
  /** Tokens that stand in the file in plain text, for redaction. */
  readonly plainTokens: readonly string[];
  /** Every fault with its place. Quotes nothing of the file, because it holds secrets. */
  readonly faults: readonly RequestFault[];
}

/** Reads the text of the file. With faults, it has no callers. */
export function readTokensFile(file: string): ReadTokens {
  const lineCounter = new LineCounter();
  const document = parseDocument(file, { prettyErrors: false, logLevel: 'silent', lineCounter });
  const refuse = (faults: RequestFault[]): ReadTokens => ({ tokenHolders: [], plainTokens: [], faults });
  if (document.errors.length > 0) {
    const placeOf = (position: number) => `line ${lineCounter.linePos(position).line}`;
    return refuse(document.errors.map(({ code, pos }) => ({ path: placeOf(pos[0]), message: `is not YAML: ${code}` })));
  }
  const result = TokensFile.safeParse(toValue(document));
  if (!result.success) {
    return refuse(result.error.issues.map(({ path, message }) => ({ path: path.join('.'), message })));
  }
  const { callers } = result.data;
  return {
    tokenHolders: callers.map(({ token, ...caller }) => ({ ...caller, tokenDigests: token.map(digestOf) })),
    plainTokens: callers.flatMap(({ token }) => token.filter((one) => !one.startsWith(digestPrefix))),
    faults: [],
  };
}

function toValue(document: ReturnType<typeof parseDocument>): unknown {
  try {
    return document.toJS();
  } catch {
    // An alias without its anchor, or aliases that multiply.
    return undefined;
  }
}

const digestPrefix = 'sha256:';

function digestOf(token: string): string {
  return token.startsWith(digestPrefix) ? token.slice(digestPrefix.length) : digestToken(token);
}
