import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '#lib/config/load.ts';
import { convert } from '#lib/image/convert.ts';
import { readDelta } from '#lib/image/delta.ts';
import { deltaAppend } from '#lib/image/delta-append.ts';
import type { ImageInspection } from '#lib/image/inspection.ts';

export interface RepackMeasurement {
  readonly method: string;
  readonly seconds: number;
  readonly sizeBytes: number;
}

/** Packs the changes of one overlay in every possible way. */
export async function measureRepack(options: {
  readonly basePath: string;
  readonly base: ImageInspection;
  readonly overlayPath: string;
  readonly directory: string;
  readonly signal: AbortSignal;
}): Promise<RepackMeasurement[]> {
  const outputPath = join(options.directory, 'repacked.qcow2');
  const { unprivilegedIds } = loadConfig({}).tools;
  const common = { ...options, outputPath, outputFormat: 'qcow2', unprivilegedIds, onProgress: () => {} } as const;
  const methods = {
    'delta append': async () =>
      deltaAppend({ ...common, compression: 'zlib' }, await readDelta(options.overlayPath, options.signal)),
    'convert, zlib': () => convert({ ...common, compression: 'zlib' }),
    'convert, zstd': () => convert({ ...common, compression: 'zstd' }),
  } satisfies Record<string, () => Promise<unknown>>;
  const measured: RepackMeasurement[] = [];
  for (const [method, run] of Object.entries(methods)) {
    const started = performance.now();
    await run();
    measured.push({ method, seconds: (performance.now() - started) / 1000, sizeBytes: (await stat(outputPath)).size });
    await rm(outputPath);
  }
  return measured;
}
