import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ExecResult, exec } from '#lib/exec.ts';

/** A home of gpg for tests. */
export interface Keyring extends AsyncDisposable {
  gpg(args: readonly string[], passphrase?: string): Promise<ExecResult>;
  /** Takes the key of this fingerprint back for good. */
  revoke(fingerprint: string): Promise<void>;
  /** The private key, as an operator makes a secret of it. */
  secretOf(name: string, passphrase?: string): Promise<string>;
  /** The verdict of gpgv, with the public keys of this home, about a detached signature: its status lines. */
  verify(signaturePath: string, path: string): Promise<string[]>;
}

export async function openKeyring(): Promise<Keyring> {
  // Sockets of its agent need a short path.
  const home = await mkdtemp(join(tmpdir(), 'gpg-'));
  const gpg: Keyring['gpg'] = (args, passphrase = '') => {
    const common = [
      '--homedir',
      home,
      '--batch',
      '--no-tty',
      '--pinentry-mode',
      'loopback',
      '--passphrase',
      passphrase,
    ];
    return exec('gpg', [...common, ...args]);
  };
  return {
    gpg,
    async revoke(fingerprint) {
      // gpg makes this certificate with each key, and puts a colon before it so that nobody imports it by mistake.
      const path = join(home, 'openpgp-revocs.d', `${fingerprint}.rev`);
      await writeFile(path, (await readFile(path, 'utf8')).replace(':-----BEGIN', '-----BEGIN'));
      await gpg(['--import', path]);
    },
    async secretOf(name, passphrase) {
      const { stdout } = await gpg(['--armor', '--export-secret-keys', name], passphrase);
      return stdout;
    },
    async verify(signaturePath, path) {
      const keys = join(home, 'public.gpg');
      await gpg(['--yes', '--output', keys, '--export']);
      const lines: string[] = [];
      await exec('gpgv', ['--homedir', home, '--keyring', keys, '--status-fd', '3', signaturePath, path], {
        onStatusLine: (line) => lines.push(line.replace('[GNUPG:] ', '')),
        okExitCodes: [0, 1, 2],
      });
      return lines;
    },
    async [Symbol.asyncDispose]() {
      await exec('gpgconf', ['--homedir', home, '--kill', 'all']);
      await rm(home, { recursive: true, force: true });
    },
  };
}
