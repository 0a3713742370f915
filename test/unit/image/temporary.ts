import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder for the time of one test. */
export async function temporaryFolder(): Promise<
  AsyncDisposable & { readonly path: string; file(name: string): string }
> {
  const path = await mkdtemp(join(tmpdir(), 'imagebuilder-image-'));
  return {
    path,
    file: (name) => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

/** Runs `use` with a file of this content. */
export async function withFile<Result>(content: Uint8Array, use: (path: string) => Promise<Result>): Promise<Result> {
  await using folder = await temporaryFolder();
  const path = folder.file('image');
  await writeFile(path, content);
  return await use(path);
}
