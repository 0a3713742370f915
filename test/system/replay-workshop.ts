import { chmod, mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compareIso } from '#lib/iso9660/compare.ts';
import { type IsoInspection, inspectIso } from '#lib/iso9660/inspect.ts';
import { replayMedium } from '#lib/kinds/cd/replay.ts';
import { temporaryFolder } from '../unit/image/temporary.ts';

export const unprivilegedIds = { first: 1_879_048_192, last: 1_895_825_407 };

export async function inspect(path: string): Promise<IsoInspection> {
  await using handle = await open(path, 'r');
  return await inspectIso(handle, { maximumBytes: 2 ** 40 });
}

/** A folder of one build with its base medium and the files that change. */
export async function workshop(
  makeBase: (folder: string) => Promise<string>,
  changes: Readonly<Record<string, string>>,
) {
  const folder = await temporaryFolder();
  await chmod(folder.path, 0o711);
  const workDirectory = folder.file('work');
  await mkdir(workDirectory, { mode: 0o700 });
  const basePath = await makeBase(folder.path);
  const outputPath = join(workDirectory, 'new.iso');
  const files = new Map<string, string>();
  for (const [path, content] of Object.entries(changes)) {
    const file = join(workDirectory, `changed-${files.size}`);
    await writeFile(file, content, { mode: 0o600 });
    files.set(path, file);
  }
  const base = await inspect(basePath);
  const { signal } = new AbortController();
  const maximumBytes = 2 ** 30;
  return {
    ...{ basePath, base, outputPath, workDirectory, files },
    replay: (more: Partial<Parameters<typeof replayMedium>[0]> = {}) =>
      replayMedium({
        ...{ mediumPath: basePath, medium: base, files, later: new Map(), outputPath },
        ...{ maximumBytes, unprivilegedIds, signal },
        onProgress: () => {},
        ...more,
      }),
    compare: async (more: Partial<Parameters<typeof compareIso>[0]> = {}) => {
      const changed = new Set(files.keys());
      return (await compareIso({ basePath, base, newPath: outputPath, changed, maximumBytes, signal, ...more })).made;
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}
