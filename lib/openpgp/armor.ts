/** ASCII armour of OpenPGP (RFC 9580 section 6.2). */

/**
 * The packets of all keys of one kind that are armoured in a text: each between its own lines of dashes, with headers, an empty
 * line, base64 and a checksum.
 */
export function removeArmor(text: string, kind: 'PUBLIC' | 'PRIVATE' = 'PUBLIC'): Buffer {
  const packets: Buffer[] = [];
  let part: 'outside' | 'headers' | 'body' = 'outside';
  let body: string[] = [];
  const end = () => {
    if (part === 'body') packets.push(Buffer.from(body.join(''), 'base64'));
    body = [];
    part = 'outside';
  };
  for (const raw of text.split('\n')) {
    const line = raw.trim();
    if (line.startsWith(`-----BEGIN PGP ${kind} KEY BLOCK-----`)) {
      end();
      part = 'headers';
    } else if (part === 'headers' && line === '') part = 'body';
    else if (part === 'body' && (line.startsWith('=') || line.startsWith('-'))) end();
    else if (part === 'body') body.push(line);
  }
  end();
  return Buffer.concat(packets);
}

const lineCharacters = 64;

/** A signature as text. */
export function armorSignature(packets: Buffer): string {
  const base64 = packets.toString('base64');
  const lines: string[] = [];
  for (let at = 0; at < base64.length; at += lineCharacters) lines.push(base64.slice(at, at + lineCharacters));
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc24(packets));
  const end = ['-----END PGP SIGNATURE-----', ''];
  return ['-----BEGIN PGP SIGNATURE-----', '', ...lines, `=${sum.subarray(1).toString('base64')}`, ...end].join('\n');
}

/** Section 6.1. */
function crc24(bytes: Buffer): number {
  let sum = 0xb704ce;
  for (const byte of bytes) {
    sum ^= byte << 16;
    for (let bit = 0; bit < 8; bit += 1) {
      sum <<= 1;
      if ((sum & 0x1000000) !== 0) sum ^= 0x1864cfb;
    }
  }
  return sum & 0xffffff;
}
