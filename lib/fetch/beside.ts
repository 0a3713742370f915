import { ImageBuilderError, safeUrl } from '../errors.ts';
import type { HttpClient } from '../http/client.ts';
import { readAll } from '../http/response.ts';
import type { Mirrors } from './choose-image.ts';
import type { FailedProbe, Probe } from './probe.ts';

/** The small files that a system-image server has beside each archive: its signature, and its description with one. */

/** A small file beside an archive. */
export interface BesideFile {
  readonly role: 'signature' | 'companion';
  /** `NAME.tar.xz.asc`, `NAME.json` or `NAME.json.asc`. */
  readonly name: string;
  readonly content: Buffer;
}

/** More than any of them has: a description has half a kilobyte, a signature one or two. */
const maximumBytes = 64 * 1024;

type Found = Pick<BesideFile, 'role' | 'name'> & { readonly url: string };

/**
 * The files beside an archive among the URLs of a request, by their names. Throws the error of one that cannot be had: the
 * release would lack it.
 */
export function findBeside(mirrors: Mirrors, probes: readonly (Probe | FailedProbe)[]): readonly Found[] {
  const names = new Map<string, BesideFile['role']>();
  for (const { fileName } of mirrors) {
    const description = `${withoutEnds(fileName)}.json`;
    names.set(`${fileName}.asc`, 'signature').set(description, 'companion').set(`${description}.asc`, 'signature');
  }
  return [...names].flatMap(([name, role]): Found[] => {
    const listed = probes.filter(({ fileName }) => fileName === name);
    const there = listed.find((found) => 'format' in found);
    if (there !== undefined) return [{ role, name, url: there.url }];
    for (const found of listed) if ('error' in found) throw found.error;
    return [];
  });
}

/** Reads them. Throws `image.too_large`, or the errors of the client. */
export async function readBeside(
  found: readonly Found[],
  { client, signal }: { readonly client: HttpClient; readonly signal: AbortSignal },
): Promise<readonly BesideFile[]> {
  const files: BesideFile[] = [];
  for (const { role, name, url } of found) {
    const content = await client.retry(
      async () => {
        using response = await client.open(url, { notFoundCode: 'image.not_found', signal, attempts: 1 });
        return await readAll(response, maximumBytes);
      },
      { signal },
    );
    if (content.length === 0) throw new ImageBuilderError('image.unsupported', `${safeUrl(url)} is empty`);
    files.push({ role, name, content });
  }
  return files;
}

/** The name of an archive without `.tar` and what its compression adds. */
export function withoutEnds(fileName: string): string {
  return fileName.replace(/[.](gz|xz|zst)$/i, '').replace(/[.](tar|tgz|txz)$/i, '');
}
