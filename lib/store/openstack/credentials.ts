import type { AuthKey } from './cloud.ts';

/**
 * The identity that asks Keystone for a token. Users, domains, scope and credential have the form of Keystone's own
 * API.
 */
export type Identity =
  | { readonly kind: 'password'; readonly user: UserReference; readonly password: string; readonly scope: Scope }
  /** A token gives others, no longer good than itself. */
  | { readonly kind: 'token'; readonly token: string; readonly scope: Scope }
  /** An application credential includes its project: Keystone refuses a scope beside it. */
  | {
      readonly kind: 'application_credential';
      readonly credential: { readonly id: string } | { readonly name: string; readonly user: UserReference };
      readonly secret: string;
    };

type Domain = { readonly id: string } | { readonly name: string };
type UserReference = { readonly id: string } | { readonly name: string; readonly domain: Domain };
type Scope =
  | { readonly project: { readonly id: string } | { readonly name: string; readonly domain: Domain } }
  | { readonly 'OS-TRUST:trust': { readonly id: string } };

type Auth = Readonly<Partial<Record<AuthKey, string>>>;
type AddFault = (path: readonly string[], message: string) => void;

const kinds: Readonly<Record<string, Identity['kind']>> = {
  password: 'password',
  v3password: 'password',
  token: 'token',
  v3token: 'token',
  v3applicationcredential: 'application_credential',
};

/** Reads the identity by its type, by the names of keystoneauth; null, with faults, where it is incomplete. */
export function readIdentity(auth: Auth, type: string | undefined, fault: AddFault): Identity | null {
  const kind = type === undefined ? kindOf(auth) : kinds[type];
  if (kind === undefined) {
    fault(['auth_type'], `must be one of ${Object.keys(kinds).join(', ')}, not ${type}`);
    return null;
  }
  const required = (key: AuthKey) => {
    const value = auth[key];
    if (value === undefined) fault(['auth', key], 'is missing');
    return value ?? '';
  };
  // The domain of a project-scoped identity stands for that of user and project.
  const domain = (of: 'user' | 'project'): Domain => {
    const id = auth[`${of}_domain_id`] ?? auth.domain_id ?? auth.default_domain_id;
    const name = auth[`${of}_domain_name`] ?? auth.domain_name ?? auth.default_domain_name;
    if (auth[`${of}_domain_id`] === undefined && auth[`${of}_domain_name`] !== undefined) {
      return { name: auth[`${of}_domain_name`] ?? '' };
    }
    return id === undefined ? { name: name ?? required(`${of}_domain_name`) } : { id };
  };
  const user = (): UserReference =>
    auth.user_id === undefined ? { name: required('username'), domain: domain('user') } : { id: auth.user_id };

  if (kind === 'application_credential') {
    const { application_credential_id: id, application_credential_name: name } = auth;
    const secret = required('application_credential_secret');
    if (id !== undefined) return { kind, credential: { id }, secret };
    if (name !== undefined) return { kind, credential: { name, user: user() }, secret };
    fault(['auth', 'application_credential_id'], 'is missing');
    return null;
  }
  const scope = (): Scope => {
    if (auth.trust_id !== undefined) return { 'OS-TRUST:trust': { id: auth.trust_id } };
    if (auth.project_id !== undefined) return { project: { id: auth.project_id } };
    const other = (['system_scope', 'domain_id', 'domain_name'] as const).find((key) => auth[key] !== undefined);
    if (auth.project_name === undefined && other !== undefined) {
      fault(
        ['auth', other],
        'is no scope for images, which belong to projects; name one with project_name or project_id',
      );
      return { project: { id: '' } };
    }
    return { project: { name: required('project_name'), domain: domain('project') } };
  };
  if (auth.system_scope !== undefined && (auth.project_name ?? auth.project_id) !== undefined) {
    fault(['auth', 'system_scope'], 'must not stand beside a project');
  }
  if (kind === 'token') return { kind, token: required('token'), scope: scope() };
  return { kind, password: required('password'), user: user(), scope: scope() };
}

/** The kind of an identity without a type. */
function kindOf(auth: Auth): Identity['kind'] {
  if (auth.application_credential_id !== undefined || auth.application_credential_name !== undefined) {
    return 'application_credential';
  }
  return auth.token !== undefined && auth.password === undefined ? 'token' : 'password';
}
