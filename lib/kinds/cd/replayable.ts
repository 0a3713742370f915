import { ImageBuilderError } from '../../errors.ts';
import type { IsoInspection } from '../../iso9660/inspect.ts';
import { shown } from '../../iso9660/volume.ts';

/**
 * Throws `image.unsupported` for a medium that xorriso cannot write again without a loss: before the packages are
 * installed, not after.
 */
export function assertReplayable({ names, files, boot, volumeSizeBytes }: IsoInspection): void {
  if (names !== 'rock-ridge') {
    const has = names === 'joliet' ? 'Joliet names alone' : 'the short names of ISO 9660 alone';
    throw refusal(`it has ${has}; a live system needs those of Rock Ridge, with owners and modes`);
  }
  for (const [path, { encoding }] of files) {
    if (encoding === 'zisofs') throw refusal(`/${path} is compressed by zisofs`);
    if (encoding === 'sparse') throw refusal(`/${path} is stored as a sparse file`);
  }
  if (boot.gpt !== null && boot.mbr === null) throw refusal('it has a GPT without an MBR that announces it');
  const added = boot.gpt?.find(({ offsetBytes }) => offsetBytes >= volumeSizeBytes);
  if (added !== undefined) {
    throw refusal(`partition ${added.number} of its GPT lies behind its file system, where none of a new medium would`);
  }
}

function refusal(reason: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', `the medium cannot be written again as it is: ${shown(reason)}`);
}
