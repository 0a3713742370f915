import { join } from 'node:path';
import { z } from 'zod';
import { ImageBuilderError } from '#lib/errors.ts';
import { ExecError, exec } from '#lib/exec.ts';
import { type BaseImage, type BaseImageOptions, makeBaseImage } from './base-image.ts';

const Result = z.object({
  distribution: z.string(),
  version: z.string(),
  codename: z.string(),
  path: z.string(),
  sizeBytes: z.number(),
  variant: z.enum(['plain', 'separate-boot']),
  architecture: z.literal('amd64'),
  made: z.boolean(),
});

/** makeBaseImage, in a user namespace whose root is this user where this process is not root. */
export async function makeBaseImageAsAnyUser(options: BaseImageOptions): Promise<BaseImage> {
  if (process.geteuid?.() === 0) return await makeBaseImage(options);
  const { cacheDirectory, variant = 'plain', onLine = () => {}, signal } = options;
  // A process namespace of its own, since /proc of this one cannot be mounted there.
  const namespaces = ['--map-root-user', '--map-auto', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const program = [process.execPath, join(import.meta.dirname, 'base-image-process.ts'), cacheDirectory, variant];
  try {
    const { stdout } = await exec('unshare', [...namespaces, '--', ...program], {
      onLine: (line, stream) => {
        if (stream === 'stderr') onLine(line);
      },
      ...(signal === undefined ? {} : { signal }),
    });
    return Result.parse(JSON.parse(stdout));
  } catch (cause) {
    if (!(cause instanceof ExecError)) throw cause;
    throw new ImageBuilderError(
      'guest.unavailable',
      `the base image could not be made without root: ${cause.message}; allow user namespaces and give this user a range in /etc/subuid and /etc/subgid (util-linux 2.38 is needed), take another with --base-image, or run as root`,
      { cause, logTail: cause.logTail },
    );
  }
}
