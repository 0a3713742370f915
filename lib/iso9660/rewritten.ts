import type { IsoInspection } from './inspect.ts';

/**
 * Whether a file that begins at a place of a medium becomes another when the medium is written anew, since it holds
 * addresses of blocks: the boot catalogue, and the boot images of all firmware but that of UEFI.
 */
export function isRewritten({ boot }: Pick<IsoInspection, 'boot'>, offsetBytes: number): boolean {
  const isImage = boot.entries.some((entry) => entry.platform !== 'uefi' && entry.offsetBytes === offsetBytes);
  return isImage || boot.catalogueOffsetBytes === offsetBytes;
}

/** Paths of these files: some have several names. */
export function rewrittenFiles(iso: Pick<IsoInspection, 'boot' | 'files'>): Set<string> {
  const found = [...iso.files].filter(
    ([
      ,
      {
        type,
        extents: [first],
      },
    ]) => {
      return type === 'file' && first !== undefined && isRewritten(iso, first.offsetBytes);
    },
  );
  return new Set(found.map(([path]) => path));
}
