import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { ImageBuilderError } from '../errors.ts';

/**
 * Keeps the gateway from answering pages of other sites in a browser on this machine. Such a page may call
 * http://127.0.0.1:8000 without a preflight; its Origin shows it. Or it may point its own name there (DNS rebinding):
 * the browser then takes the gateway for the page's own server, and only the Host header shows it.
 */

export interface HostOptions {
  /** The name or address to listen on, as it was given. */
  readonly listenHost: string;
  /** Address of the gateway for callers outside; may be empty. */
  readonly publicUrl: string;
  /** Further names. */
  readonly allowedHosts: readonly string[];
}

/**
 * Makes a check that throws `request.host` for a request to a name that the gateway does not have, and `request.origin`
 * for one by a page of another site.
 */
export function createHostCheck(options: HostOptions): (request: IncomingMessage) => void {
  const publicHost = options.publicUrl === '' ? '' : new URL(options.publicUrl).host;
  const names = new Set(
    [options.listenHost, hostname(), hostOf(publicHost)?.name ?? '', ...options.allowedHosts].map(withoutDot),
  );
  names.delete('');
  return ({ headers }) => {
    // Only HTTP/1.0 may lack it, which no browser uses.
    if (headers.host === undefined) return;
    const host = hostOf(headers.host);
    // Nobody can point an address elsewhere, unlike a name.
    const known = host !== undefined && (isIP(host.name) !== 0 || isLocal(host.name) || names.has(host.name));
    if (!known) {
      throw new ImageBuilderError(
        'request.host',
        `this service is not known as ${JSON.stringify(headers.host.slice(0, 100))}; call it by its address or as ` +
          'localhost, or have the operator add the name with --allowed-host or IMAGEBUILDER_ALLOWED_HOSTS',
      );
    }
    if (headers.origin === undefined) return;
    const origin = URL.canParse(headers.origin) ? new URL(headers.origin).host : '';
    if (origin === '' || (origin !== host.host && origin !== publicHost)) {
      throw new ImageBuilderError(
        'request.origin',
        `pages of ${JSON.stringify(headers.origin.slice(0, 100))} may not call this service, only its own`,
      );
    }
  };
}

/** The name in a Host header, without port, brackets and the final dot; `host` includes the port, as in URLs. */
function hostOf(header: string): { readonly name: string; readonly host: string } | undefined {
  if (!/^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?$/i.test(header) || !URL.canParse(`http://${header}`)) {
    return undefined;
  }
  const { hostname: name, host } = new URL(`http://${header}`);
  return { name: withoutDot(name.replace(/^\[|\]$/g, '')), host };
}

function withoutDot(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

/** Browsers never look these names up (RFC 6761, 6.3). */
function isLocal(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}
