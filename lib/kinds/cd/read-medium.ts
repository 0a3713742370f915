import type { FileHandle } from 'node:fs/promises';
import type { BuildRequest } from '../../api/request.ts';
import { ImageBuilderError } from '../../errors.ts';
import { headBytes, recognise } from '../../file-format.ts';
import { type IsoInspection, inspectIso } from '../../iso9660/inspect.ts';
import { readIsoFile, runOf } from '../../iso9660/read-file.ts';
import type { IsoTree } from '../../iso9660/tree.ts';
import type { LiveStart, Medium } from '../../medium/medium.ts';
import { findOtherSystems } from '../../medium/other-systems.ts';
import { type LayerPlan, planLayers } from '../../medium/plan-layers.ts';
import { recogniseMedium } from '../../medium/recognise.ts';
import { openSquashfs, type SquashfsLimits } from '../../squashfs/open.ts';
import { assertKnownAlgorithms, readChecksumLists } from './checksum-lists.ts';
import type { KnownLayers } from './known-layers.ts';
import { readLiveStarts } from './live-starts.ts';
import { assertReplayable } from './replayable.ts';

/** An inspected medium, and the layers of it that are to change. */
export interface BaseMedium {
  readonly path: string;
  readonly iso: IsoInspection;
  readonly medium: Medium;
  readonly plan: LayerPlan;
}

/** The catalogues and lists that say which layers there are have some KB together. */
const maximumTextBytes = 2 ** 20;

/**
 * Inspects the medium in a file, with every layer that a changed one stands on; `known` gets these. Throws `request.invalid` for a source
 * that it has not, and as `ImageKind.inspect` does.
 */
export async function readMedium(
  path: string,
  handle: FileHandle,
  wanted: BuildRequest['base_image'],
  { workDirectory, known, ...limits }: SquashfsLimits & { readonly workDirectory: string; readonly known: KnownLayers },
): Promise<BaseMedium> {
  await assertIso(handle);
  const { maximumContentBytes: maximumBytes, signal } = limits;
  const iso = await inspectIso(handle, { maximumBytes, signal });
  assertReplayable(iso);
  const starts = await readLiveStarts(handle, iso.files, { ...limits, workDirectory });
  const medium = await findLayers(handle, iso.files, starts);
  const plan = planLayers(medium, (wanted.image_type === 'cd' ? wanted.cd : undefined) ?? {});
  for (const layer of new Set(plan.flatMap((placed) => [...placed.below, placed.layer]))) {
    const { offsetBytes: offset, sizeBytes: length } = runOf(iso.files, layer);
    known.add({ path, offsetBytes: offset, sizeBytes: length }, await openSquashfs({ handle, offset, length }, limits));
  }
  const changing = new Set(plan.map(({ layer }) => layer));
  assertKnownAlgorithms(await readChecksumLists(handle, iso.files), iso.files, changing);
  return { path, iso, medium, plan };
}

/** The handle's file begins as an ISO 9660 image does; else throws `image.unsupported`, which names what it is. */
async function assertIso(handle: FileHandle): Promise<void> {
  const { buffer, bytesRead } = await handle.read({ buffer: Buffer.alloc(headBytes), position: 0 });
  const { format, name } = recognise({ head: buffer.subarray(0, bytesRead) });
  if (format !== 'iso') {
    throw new ImageBuilderError('image.unsupported', `the image is ${name}, where an ISO 9660 image is wanted`);
  }
}

async function findLayers(handle: FileHandle, files: IsoTree, starts: readonly LiveStart[]): Promise<Medium> {
  const paths = [...files].filter(([, { type }]) => type === 'file').map(([path]) => path);
  const folders = new Set(['casper', 'live', ...starts.flatMap(({ folder }) => folder ?? [])]);
  const texts = new Map<string, string>();
  let roomBytes = maximumTextBytes;
  for (const path of paths) {
    const [, folder = '', name = ''] = /^(.+)\/([^/]+)$/.exec(path) ?? [];
    if (!folders.has(folder) || !(name === 'install-sources.yaml' || name.endsWith('.module'))) continue;
    const text = (await readIsoFile(handle, files, path, roomBytes)) ?? Buffer.alloc(0);
    roomBytes -= text.length;
    texts.set(path, text.toString('utf8'));
  }
  const others = await findOtherSystems(handle, files, folders);
  return recogniseMedium({ paths, readText: (path) => texts.get(path) ?? '', starts, others });
}
