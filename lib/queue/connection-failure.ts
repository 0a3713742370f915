import type { BrokerAddress } from '../broker-address.ts';

/** Why RabbitMQ cannot be connected to, in words that say what to change. */

/** OpenSSL's codes for a certificate whose issuer is not trusted. */
const unknownIssuer = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** Describes the failure of one attempt; null where the error's own message is the best that can be said. */
export function describeConnectionFailure(error: Error, { tls, host, port, vhost }: BrokerAddress): string | null {
  const code = (error as { readonly code?: unknown }).code;
  const { message } = error;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return `the name ${host} does not resolve (${code})`;
  if (code === 'ECONNREFUSED') return `nothing listens on port ${port} of ${host} (${code})`;
  if (unknownIssuer.has(String(code))) {
    return `its certificate is issued by an authority that is not known here; its certificate belongs into the secret imagebuilder-amqp-ca (${code})`;
  }
  if (code === 'CERT_HAS_EXPIRED')
    return `its certificate has expired, or the clock of this machine is wrong (${code})`;
  if (code === 'CERT_NOT_YET_VALID') return `its certificate is not valid yet, or the clock is wrong (${code})`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') return `its certificate is for another host than ${host} (${code})`;
  if (/^ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED|^ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE/.test(String(code))) {
    return `it wants a client certificate: secrets imagebuilder-amqp-certificate and imagebuilder-amqp-key (${code})`;
  }
  if (/^ERR_SSL_.*(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)$/.test(String(code))) {
    return `it refuses the certificate of the secret imagebuilder-amqp-certificate (${code})`;
  }
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return `no TLS is spoken on port ${port}: amqps is for RabbitMQ's TLS port, by default 5671, and amqp for the other`;
  }
  if (message.includes('ACCESS_REFUSED') && message.includes('Handshake')) {
    return `it refuses the user or the password (ACCESS_REFUSED)`;
  }
  if (message.startsWith('Expected ConnectionOpenOk')) {
    return `the virtual host ${JSON.stringify(vhost)} is not there, or the user has no rights in it`;
  }
  const started = /^Frame size ([0-9]+) exceeds/.exec(message)?.[1];
  if (started !== undefined && isHttp(Number(started))) {
    return `port ${port} speaks HTTP, such as RabbitMQ's management does on 15672, and not AMQP (by default 5672, with TLS 5671)`;
  }
  if (message === 'connect ETIMEDOUT' || code === 'ETIMEDOUT') {
    return `port ${port} gives no answer: a firewall is in between, or it waits for another protocol, as the ports of MQTT and STOMP do (ETIMEDOUT)`;
  }
  if (isStranger(message) || code === 'ECONNRESET' || code === 'EPIPE') {
    const other = tls ? 'AMQP over TLS' : 'AMQP without TLS (amqps is for the TLS port)';
    return `port ${port} breaks the connection off: it does not speak ${other}, as the ports of TLS, MQTT and STOMP do not (${code ?? message})`;
  }
  return null;
}

/** The four bytes of `HTTP/1.1` that stand where AMQP has the length of a frame. */
function isHttp(length: number): boolean {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(length));
  return bytes.subarray(4).toString('latin1') === 'P/1.';
}

/** Words of amqplib for an answer that is no AMQP. */
function isStranger(message: string): boolean {
  return /^(Socket closed abruptly|Invalid frame|Frame size|Expected ConnectionStart|Unexpected)/.test(message);
}
