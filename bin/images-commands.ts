import type { StoredState } from '#lib/api/image-list.ts';
import { requireBuildId } from '#lib/client/build-id.ts';
import { download } from '#lib/client/download.ts';
import { describeImage, describeImages } from '#lib/client/image-report.ts';
import { isDrawable, openLive, writesUnicode } from '#lib/client/live.ts';
import { explainFaults } from '#lib/client/request-source.ts';
import { cutMark, percent } from '#lib/client/view.ts';
import { ImageBuilderError } from '#lib/errors.ts';
import { plain } from '#lib/text.ts';
import { type GatewayOptions, openClient } from './gateway.ts';
import { interrupted } from './interrupted.ts';
import { openRemoteFiles } from './remote-files.ts';

/** Commands about the images in the store. Each resolves with its exit code. */

export interface ImagesOptions extends GatewayOptions {
  readonly limit?: string;
  readonly cursor?: string;
  readonly json?: boolean;
}

export async function listImages(options: ImagesOptions): Promise<number> {
  const { limit, cursor, json } = options;
  const query = { limit, cursor };
  const page = await (await openClient(options)).images(query).catch((error: unknown) => {
    throw explainFaults(error, { query });
  });
  const { stdout } = process;
  const columns = stdout.isTTY && stdout.columns > 0 ? stdout.columns : undefined;
  const mark = cutMark({ unicode: writesUnicode(process.env) });
  stdout.write(`${json ? JSON.stringify(page) : describeImages(page, columns, mark)}\n`);
  return 0;
}

export async function showImage(text: string, options: GatewayOptions & { json?: boolean }): Promise<number> {
  const image = await (await openClient(options)).image(requireBuildId(text, 'BUILD_ID'));
  process.stdout.write(`${options.json ? JSON.stringify(image) : describeImage(image)}\n`);
  return 0;
}

export async function deleteImage(text: string, options: GatewayOptions): Promise<number> {
  const buildId = requireBuildId(text, 'BUILD_ID');
  await (await openClient(options)).deleteImage(buildId);
  process.stdout.write(`Deleted everything that the store had of build ${buildId}\n`);
  return 0;
}

const missingNotes: Readonly<Partial<Record<StoredState, string>>> = {
  image_missing: 'The image is missing from the store: these are the files that were beside it.',
  files_missing: 'Some of the files beside the image are missing from the store, or in a folder of another machine.',
};

/** Writes the path of each file that is there, one a line. */
export async function downloadImage(
  text: string,
  options: GatewayOptions & { to: string; imageOnly?: boolean },
): Promise<number> {
  const buildId = requireBuildId(text, 'BUILD_ID');
  const leave = new AbortController();
  const { signal } = leave;
  const onInterrupt = () => leave.abort();
  process.on('SIGINT', onInterrupt);
  try {
    const { image, state, artifacts } = await (await openClient(options, signal)).image(buildId);
    if (image === null && options.imageOnly === true) {
      throw new ImageBuilderError(
        'build.not_found',
        `the build ${buildId} has no image${state === 'image_missing' ? ' any more' : ''}`,
      );
    }
    const missing = options.imageOnly ? undefined : missingNotes[state];
    if (missing !== undefined) process.stderr.write(`${missing}\n`);
    const files = [...(image === null ? [] : [image]), ...(options.imageOnly ? [] : artifacts)];
    const open = openRemoteFiles(signal);
    for (const file of files) {
      using progress = isDrawable(process.stderr, process.env) ? openLive(process.stderr, process.env) : null;
      const onProgress = (bytes: number) =>
        progress?.draw(() => `${percent(bytes / Math.max(1, file.size))}  ${plain(file.name)}`);
      const path = await download(file, { folder: options.to, open, signal, onProgress });
      process.stdout.write(`${plain(path)}\n`);
    }
    return 0;
  } catch (error) {
    if (!signal.aborted) throw error;
    process.stderr.write('Interrupted. The same command goes on where it stopped.\n');
    return interrupted;
  } finally {
    process.off('SIGINT', onInterrupt);
  }
}
