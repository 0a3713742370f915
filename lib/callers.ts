import { createHash, createHmac, randomBytes } from 'node:crypto';
import { z } from 'zod';

/** The callers of the API: how their tokens identify them, and what each may do. */

/**
 * - `submit`: submits builds, sees and cancels its own.
 * - `read`: sees all builds, and changes nothing.
 * - `operate`: submits builds, sees and cancels all.
 */
export const roles = ['submit', 'read', 'operate'] as const;
export type Role = (typeof roles)[number];

const nameError = 'must be a name of 1 to 64 letters, digits, ".", "_" and "-", beginning with a letter or digit';
export const CallerName = z
  .string({ error: nameError })
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, { error: nameError });

/** The highest limit of builds an hour: submissions of one caller beyond it are not remembered one by one. */
export const maximumBuildsAnHour = 1_000;

/** Limits of a caller. An absent limit does not hold. */
export interface CallerLimits {
  /** Queued and running builds together. */
  readonly unfinished_builds?: number | undefined;
  readonly builds_an_hour?: number | undefined;
  /** Entries in the `package_list` of one request. */
  readonly packages?: number | undefined;
}

export interface Caller {
  /** Name in jobs, in the records of builds and in audit lines. */
  readonly name: string;
  readonly role: Role;
  readonly limits: CallerLimits;
}

/** A caller with its tokens, as SHA-256 digests in hex. */
export interface TokenHolder extends Caller {
  readonly tokenDigests: readonly string[];
}

/** Every caller, while no token is required. */
export const anonymous: Caller = { name: 'anonymous', role: 'operate', limits: {} };
/** The caller with the one token of the secret `imagebuilder-token`. */
export const operator: Caller = { name: 'operator', role: 'operate', limits: {} };

export interface Callers {
  /**
   * The caller whose token an Authorization header carries; null for a missing or wrong one. Without tokens:
   * `anonymous`.
   */
  identify(authorization: string | undefined): Caller | null;
  /** The caller of this name; null where no token is its. */
  named(name: string): Caller | null;
}

export interface CallersOptions {
  /** The one token of the secret `imagebuilder-token`; null without that secret. */
  readonly token: string | null;
  /** The callers of the secret `imagebuilder-tokens`. */
  readonly tokenHolders: readonly TokenHolder[];
}

/** Creates the callers of a configuration. */
export function createCallers({ token, tokenHolders }: CallersOptions): Callers {
  // Tokens are looked up by a digest that nobody outside can compute, so the time of a look-up reveals neither how many
  // tokens there are nor how one begins.
  const key = randomBytes(32);
  const blind = (digest: string) => createHmac('sha256', key).update(digest).digest('base64');
  const known = new Map<string, Caller>();
  for (const { tokenDigests, ...caller } of tokenHolders) {
    for (const digest of tokenDigests) known.set(blind(digest), caller);
  }
  if (token !== null) known.set(blind(digestToken(token)), operator);
  return {
    identify(authorization) {
      if (known.size === 0) return anonymous;
      const given = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
      return given === undefined ? null : (known.get(blind(digestToken(given))) ?? null);
    },
    named: (name) => [...known.values()].find((caller) => caller.name === name) ?? null,
  };
}

/** SHA-256 of a token, in hex. */
export function digestToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** True for callers who see the builds of others, too. */
export function seesAll({ role }: Caller): boolean {
  return role !== 'submit';
}

/** The name of the only caller whose builds this one sees; null where it sees all. */
export function seenOwner(caller: Caller): string | null {
  return seesAll(caller) ? null : caller.name;
}

/** True where the caller may know of a build that `owner` has submitted. */
export function maySee(caller: Caller, owner: string): boolean {
  return seesAll(caller) || caller.name === owner;
}

/** True for callers who submit and cancel builds. */
export function mayChange({ role }: Caller): boolean {
  return role !== 'read';
}
