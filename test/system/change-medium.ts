import { copyFile, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as assert from 'uvu/assert';
import { exec } from '#lib/exec.ts';
import { inspectIso } from '#lib/iso9660/inspect.ts';

/** Writes a medium to the new file `output` that differs from `medium` in the content of these files, by their paths on it. */
export async function changeMedium(
  medium: string,
  output: string,
  contents: Readonly<Record<string, string | Buffer>>,
): Promise<string> {
  const folder = await mkdtemp(join(dirname(output), 'change-'));
  try {
    const words: string[] = [];
    for (const [index, [path, content]] of Object.entries(contents).entries()) {
      const file = join(folder, String(index));
      await writeFile(file, content);
      words.push('-map', file, path);
    }
    await exec('xorriso', [
      ...['-no_rc', '-indev', medium, '-outdev', output, '-joliet', 'on', '-boot_image', 'any', 'replay'],
      ...['-compliance', 'no_emul_toc:joliet_long_names', '-padding', 'included', ...words],
    ]);
    return output;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Writes a medium to the new file `output` that has other bytes in its boot image for BIOS. */
export async function breakLoader(
  medium: string,
  output: string,
  { at, bytes }: { readonly at: number; readonly bytes: Buffer },
): Promise<string> {
  await copyFile(medium, output);
  await using handle = await open(output, 'r+');
  const { boot } = await inspectIso(handle, { maximumBytes: 2 ** 40 });
  const entry = boot.entries.find(({ platform }) => platform === 'bios');
  assert.ok(entry);
  await handle.write(bytes, 0, bytes.length, entry.offsetBytes + at);
  return output;
}
