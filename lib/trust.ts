import { createPrivateKey, X509Certificate } from 'node:crypto';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { type HostRule, matchesHost } from './proxies.ts';

/** Certificates that servers are checked against, and those that this side shows. All in PEM. */

export interface Trust {
  /** CAs that are trusted beside the others; null: none. */
  readonly authorities: string | null;
  /** CAs that are trusted in place of Node's; null: none. */
  readonly only: string | null;
  readonly clients: readonly ClientCertificate[];
}

export interface ClientCertificate {
  /** The servers that may see it. */
  readonly hosts: readonly HostRule[];
  readonly certificate: string;
  /** A secret. */
  readonly key: string;
}

export const defaultTrust: Trust = { authorities: null, only: null, clients: [] };

const begin = '-----BEGIN CERTIFICATE-----';
const end = '-----END CERTIFICATE-----';

/** The fault of text that should hold certificates; null where it has none. */
export function certificatesFault(pem: string): string | null {
  const blocks = pem.split(begin).slice(1);
  if (blocks.length === 0) return 'holds no PEM certificate';
  for (const [index, block] of blocks.entries()) {
    try {
      new X509Certificate(`${begin}${block.slice(0, block.indexOf(end) + end.length)}`);
    } catch {
      return `has a certificate (number ${index + 1}) that cannot be parsed`;
    }
  }
  return null;
}

/** The fault of a certificate and its key; null where they belong together. Quotes nothing of the key. */
export function clientFault({ certificate, key }: Pick<ClientCertificate, 'certificate' | 'key'>): string | null {
  const fault = certificatesFault(certificate);
  if (fault !== null) return fault;
  if (/-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: 4,ENCRYPTED/.test(key)) {
    return 'has a key with a passphrase, which nobody could enter; store it without one, readable to the worker alone';
  }
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(key)) return 'holds no PEM private key';
  try {
    const block = key.slice(key.search(/-----BEGIN [A-Z ]*PRIVATE KEY-----/));
    return new X509Certificate(certificate.slice(certificate.indexOf(begin))).checkPrivateKey(createPrivateKey(block))
      ? null
      : 'has a key that belongs to another certificate';
  } catch {
    return 'has a key that cannot be parsed';
  }
}

export interface TlsContext {
  /** Alike for servers with the same context. */
  readonly name: string;
  /** Undefined: Node's own. */
  readonly context: SecureContext | undefined;
}

/** Makes the contexts of TLS connections, each once, since reading all CAs takes milliseconds. */
export function createTlsContexts({ authorities, only, clients }: Trust): (url: URL) => TlsContext {
  const made = new Map<number, SecureContext>();
  const extra = authorities === null ? [] : [authorities];
  const isUsual = only === null && authorities === null;
  const ca = isUsual ? undefined : [...(only === null ? getCACertificates('default') : [only]), ...extra];
  return (url) => {
    const index = clients.findIndex(({ hosts }) => matchesHost(url, hosts));
    const client = clients[index];
    if (ca === undefined && client === undefined) return { name: '', context: undefined };
    const shown = client && { cert: client.certificate, key: client.key };
    const context = made.get(index) ?? createSecureContext({ ...(ca !== undefined && { ca }), ...shown });
    made.set(index, context);
    return { name: String(index), context };
  };
}
