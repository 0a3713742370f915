import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { compareBoot, type Examination, examineBoot } from '../boot/examine.ts';
import { collectBootFiles } from '../boot/probe.ts';
import { type BootDisk, type BootView, readBootView } from '../boot/view.ts';
import { ImageBuilderError } from '../errors.ts';
import type { Guest, GuestPlace } from '../guest/guest.ts';
import type { InspectedImage } from '../kinds/kind.ts';
import { plain, someOf } from '../text.ts';
import type { BuildTools, LimitedContext } from './context.ts';

export interface CheckedImage {
  readonly inspected: InspectedImage;
  readonly guest: Guest;
  readonly place: GuestPlace;
}

export interface BootFindings extends Pick<Examination, 'kernel' | 'firmwares'> {
  /** For people. */
  readonly warnings: readonly string[];
}

/** For an image whose files were not looked at. */
export const noFindings: BootFindings = { warnings: [], kernel: null, firmwares: [] };

/**
 * Looks whether a changed image still boots, by the files that `OpenImage.seal` has taken out of it. Only where these
 * leave a doubt, the base image is opened once more: faults that it had as well are none of this build's. Resolves with
 * the findings. Throws `image.unbootable` with the reason.
 */
export async function checkBoot(
  bootFiles: string,
  image: CheckedImage,
  tools: BuildTools,
  context: LimitedContext,
): Promise<BootFindings> {
  const { boot } = image.inspected;
  if (boot === null) return noFindings;
  const view = await read(bootFiles, boot, image, tools, context);
  const { faults, isDoubtful, unchecked, kernel, firmwares } = examineBoot(view);
  for (const what of unchecked) context.reporter.log(`boot check: ${plain(what)}`);
  if (!isDoubtful && faults.length === 0) return { warnings: [], kernel, firmwares };

  const base = await readBase(boot, image, tools, context);
  const { added, inherited } = compareBoot(view, base);
  const severe = added.filter(({ isMinor }) => isMinor !== true);
  if (severe.length > 0) {
    const reasons = someOf([...new Set(severe.map(({ message }) => plain(message)))], '; ');
    throw new ImageBuilderError('image.unbootable', `the changed image would not boot: ${reasons}`);
  }
  for (const { message } of inherited) context.reporter.log(`boot check: as in the base image, ${plain(message)}`);
  return { warnings: added.map(({ message }) => plain(message)), kernel, firmwares };
}

async function read(
  path: string,
  disk: BootDisk,
  { place }: CheckedImage,
  { settings }: BuildTools,
  { signal }: LimitedContext,
): Promise<BootView> {
  const { workDirectory } = place;
  const view = await readBootView(path, { disk, workDirectory, unprivilegedIds: settings.unprivilegedIds, signal });
  await rm(path);
  return view;
}

/** The same files of the base image, which is opened by a second overlay that is thrown away. */
async function readBase(
  boot: BootDisk,
  image: CheckedImage,
  tools: BuildTools,
  context: LimitedContext,
): Promise<BootView> {
  const { signal } = context;
  const workDirectory = join(image.place.workDirectory, 'base');
  await mkdir(workDirectory, { mode: 0o711 });
  try {
    const place = { ...image.place, workDirectory, overlayPath: join(workDirectory, 'overlay.qcow2') };
    const disk = await image.inspected.open(place, { signal });
    await using session = await image.guest.open(disk, { signal, onNotice: () => undefined, binds: [] });
    const path = join(workDirectory, 'boot-files');
    await collectBootFiles(session, path, null);
    return await read(path, boot, { ...image, place }, tools, context);
  } finally {
    await rm(workDirectory, { recursive: true, force: true });
  }
}
