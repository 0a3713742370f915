/**
 * The packets of all public keys in ASCII armour (RFC 9580 section 6.2) in a text: each between its own lines of dashes,
 * with headers, an empty line, base64 and a checksum.
 */
export function removeArmor(text: string): Buffer {
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
    if (line.startsWith('-----BEGIN PGP PUBLIC KEY BLOCK-----')) {
      end();
      part = 'headers';
    } else if (part === 'headers' && line === '') part = 'body';
    else if (part === 'body' && (line.startsWith('=') || line.startsWith('-'))) end();
    else if (part === 'body') body.push(line);
  }
  end();
  return Buffer.concat(packets);
}
