import { generateKeyPairSync } from 'node:crypto';
import { renderNumber } from '#lib/openpgp/packets.ts';

/** An RSA key in the form of `gpg --armor --export-secret-keys`, without a name, and without words of its owner. */
export function craftSecretKey(): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const { n, e, d, p, q, qi } = privateKey.export({ format: 'jwk' });
  const numbers = (...texts: (string | undefined)[]) =>
    texts.map((text) => renderNumber(Buffer.from(text ?? '', 'base64url')));
  // Version 4, created in 2026, RSA; then its secret, without a passphrase.
  const publicPart = Buffer.concat([Buffer.from('0469554d0001', 'hex'), ...numbers(n, e)]);
  const secret = Buffer.concat(numbers(d, q, p, qi));
  const sum = Buffer.alloc(2);
  sum.writeUInt16BE(secret.reduce((total, byte) => (total + byte) % 2 ** 16, 0));
  const body = Buffer.concat([publicPart, Buffer.alloc(1), secret, sum]);
  const head = Buffer.from([0xc5, 0xff, 0, 0, 0, 0]);
  head.writeUInt32BE(body.length, 2);
  const base64 =
    Buffer.concat([head, body])
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return ['-----BEGIN PGP PRIVATE KEY BLOCK-----', '', ...base64, '-----END PGP PRIVATE KEY BLOCK-----', ''].join('\n');
}
