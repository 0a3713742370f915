import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';

const algorithms = {
  ed25519: ['-algorithm', 'ed25519'],
  ecdsa: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
} as const;

/** A key and its public part by openssl, with the lines of docs/artifacts.md, in files of `folder`. */
export async function makeKeys(kind: keyof typeof algorithms, folder: string, name = 'provenance') {
  const [path, publicPath] = [join(folder, `${name}.key`), join(folder, `${name}.pub`)];
  await exec('openssl', ['genpkey', ...algorithms[kind], '-out', path]);
  await exec('openssl', ['pkey', '-in', path, '-pubout', '-out', publicPath]);
  return { path, publicPath, pem: await readFile(path, 'utf8'), publicPem: await readFile(publicPath, 'utf8') };
}
