import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';

/** A certificate in PEM, its key, and the files that hold them. */
export interface Issued {
  readonly certificate: string;
  readonly key: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** A private CA with a certificate for a server on 127.0.0.1, and one for a client named `builder`. For a week. */
export interface Authority {
  readonly ca: Issued;
  readonly server: Issued;
  readonly client: Issued;
}

/** Makes it by openssl, in a folder. */
export async function makeAuthority(directory: string): Promise<Authority> {
  const issue = async (name: string, subject: string, words: readonly string[]): Promise<Issued> => {
    const [certificateFile, keyFile] = [join(directory, `${name}.pem`), join(directory, `${name}.key`)];
    await exec('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '7'],
      ...['-subj', subject, '-out', certificateFile, '-keyout', keyFile, ...words],
    ]);
    const [certificate, key] = await Promise.all([readFile(certificateFile, 'utf8'), readFile(keyFile, 'utf8')]);
    return { certificate, key, certificateFile, keyFile };
  };
  const ca = await issue('ca', '/CN=a CA of the tests', []);
  const by = ['-CA', ca.certificateFile, '-CAkey', ca.keyFile, '-addext', 'basicConstraints=critical,CA:false'];
  return {
    ca,
    server: await issue('server', '/CN=a broker', [...by, '-addext', 'subjectAltName=IP:127.0.0.1']),
    client: await issue('client', '/CN=builder', by),
  };
}
