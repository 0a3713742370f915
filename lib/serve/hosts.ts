import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { ImageBuilderError } from '../errors.ts';

/**
 * Keeps the gateway from answering pages of other sites that a browser on this machine shows. A page may call
 * http://127.0.0.1:8000 without a preflight (its Origin gives it away), or have its own name lead there (DNS rebinding:
 * then the browser takes the gateway for the page's own server, and only the Host header gives it away).
 */

export interface HostOptions {
  /** As given to listen on: a name or an address. */
  readonly listenHost: string;
  /** Where callers reach the gateway from outside; may be empty. */
  readonly publicUrl: string;
  /** Further names. */
  readonly allowedHosts: readonly string[];
}

/**
 * Makes a check that throws `request.host` for a request to a name that the gateway does not have, and
 * `request.origin` for one by a page that did not come from it.
 */
export function createHostCheck(options: HostOptions): (request: IncomingMessage) => void {
  const publicHost = options.publicUrl === '' ? '' : new URL(options.publicUrl).host;
  const names = new Set(
    [options.listenHost, hostname(), hostOf(publicHost)?.name ?? '', ...options.allowedHosts].map(withoutDot),
  );
  names.delete('');
  return ({ headers }) => {
    // Only HTTP/1.0 may lack it, which no browser speaks.
    if (headers.host === undefined) return;
    const host = hostOf(headers.host);
    // An address is no name: nobody can have it lead elsewhere.
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

/** A Host header's name, without port, brackets and the dot of a whole name; `host` has the port, as URLs have it. */
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

/** Browsers never look these up (RFC 6761, 6.3). */
function isLocal(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}
