import { getCACertificates } from 'node:tls';
import type { BrokerCertificates } from '../broker-address.ts';
import type { RequestFault } from '../errors.ts';
import { certificatesFault, clientFault } from '../trust.ts';
import { type Secrets, secretFiles } from './secrets.ts';

/**
 * The certificates among the secrets; adds to `faults` what is wrong with them. `authorities`: CAs that are trusted
 * beside the usual ones where there is no secret; null: none.
 */
export function brokerCertificates(
  secrets: Secrets,
  authorities: string | null,
  faults: RequestFault[],
): BrokerCertificates {
  const [ca, certificate, key] = [secrets.amqpCa || null, secrets.amqpCertificate || null, secrets.amqpKey || null];
  const { amqpCa, amqpCertificate, amqpKey } = secretFiles;
  const note = (file: string, fault: string | null) => {
    if (fault !== null) faults.push({ path: `secret ${file}`, message: fault });
  };
  if (ca !== null) note(amqpCa.file, certificatesFault(ca));
  if (certificate !== null && key !== null) note(amqpCertificate.file, clientFault({ certificate, key }));
  else if (certificate !== null) note(amqpCertificate.file, `needs the secret ${amqpKey.file} with its key`);
  else if (key !== null) note(amqpKey.file, `needs the secret ${amqpCertificate.file} with its certificate`);
  if (ca !== null) return { ca: [ca], certificate, key };
  return { ca: authorities === null ? null : [...getCACertificates('default'), authorities], certificate, key };
}
