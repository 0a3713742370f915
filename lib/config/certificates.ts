import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { isNodeError, type RequestFault } from '../errors.ts';
import { parseHostRules } from '../proxies.ts';
import { type ClientCertificate, certificatesFault, clientFault, type Trust } from '../trust.ts';
import { list } from './formats.ts';
import { type Declarations, type SettingsOf, setting } from './setting.ts';

/** Certificates on the way to other servers. The files may be secrets: /var/openfaas/secrets/NAME. */
export const certificateSettings = {
  authorityFile: setting(
    'IMAGEBUILDER_CA_FILE',
    z.string(),
    '',
    'File with CAs in PEM that are trusted beside the usual ones, for every https server and proxy. OpenStack has `OS_CACERT` besides.',
  ),
  clientCertificates: setting(
    'IMAGEBUILDER_CLIENT_CERTIFICATES',
    list.pipe(
      z.array(z.string().regex(/^[^=]+=\/[^=]+$/, { error: 'must be pairs such as images.example=/path/client.pem' })),
    ),
    '',
    'Client certificates by server, such as `images.example=/var/openfaas/secrets/images.pem,*.corp.example:8443=/etc/corp.pem`; each file holds a certificate and its key in PEM. No other server gets to see them.',
  ),
} as const satisfies Declarations;

/** Reads the files. Adds to `faults`, which quote nothing of them. A setting with a fault of its own is missing. */
export function readTrust(settings: Partial<SettingsOf<typeof certificateSettings>>, faults: RequestFault[]): Trust {
  const read = (path: string, file: string, faultOf: (pem: string) => string | null): string | null => {
    const { pem, fault } = readPem(file, faultOf);
    if (fault === null) return pem;
    faults.push({ path, message: `names ${file}, which ${fault}` });
    return null;
  };
  const { authorityFile = '', clientCertificates = [] } = settings;
  const clients = clientCertificates.flatMap((pair): ClientCertificate[] => {
    const equals = pair.indexOf('=');
    const { variable } = certificateSettings.clientCertificates;
    const hosts = parseHostRules([pair.slice(0, equals)]);
    if (typeof hosts === 'string') {
      faults.push({ path: variable, message: hosts });
      return [];
    }
    const both = (pem: string) => clientFault({ certificate: pem, key: pem });
    const pem = read(variable, pair.slice(equals + 1), both);
    return pem === null ? [] : [{ hosts, certificate: pem, key: pem }];
  });
  const authorities =
    authorityFile === '' ? null : read(certificateSettings.authorityFile.variable, authorityFile, certificatesFault);
  return { authorities, only: null, clients };
}

function readPem(file: string, faultOf: (pem: string) => string | null): { pem: string; fault: string | null } {
  try {
    const pem = readFileSync(file, 'utf8');
    return { pem, fault: faultOf(pem) };
  } catch (error) {
    return { pem: '', fault: `cannot be read${isNodeError(error) ? ` (${error.code})` : ''}` };
  }
}
