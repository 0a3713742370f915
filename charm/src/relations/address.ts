/** Addresses and certificates in the data of relations, which other charms have written. */

/** A host as URLs have it: an address of IPv6 stands in brackets. */
export const hostInUrl = (host: string): string => (host.includes(':') && !host.startsWith('[') ? `[${host}]` : host);

/** Whether a text is a host name or an address, and nothing else of a URL. */
export function isHost(text: string): boolean {
  // A URL drops line breaks, and keeps percent codes, which no resolver understands.
  if (/[\s%]/.test(text)) return false;
  const url = URL.parse(`amqp://${hostInUrl(text)}`);
  return url !== null && url.hostname !== '' && url.href === `amqp://${url.hostname}`;
}

/** A TCP port; null for any other text. */
export function portOf(text: string): number | null {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  return port >= 1 && port <= 65_535 ? port : null;
}

/** Certificates that stand in relation data as PEM in base64, or as PEM; null for any other text. */
export function certificatesOf(text: string): string | null {
  const beginning = '-----BEGIN CERTIFICATE-----';
  const pem = text.includes(beginning) ? text : Buffer.from(text, 'base64').toString('utf8');
  return pem.includes(beginning) ? pem : null;
}
