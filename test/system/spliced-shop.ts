import { createHash } from 'node:crypto';
import { checksumAlgorithms } from '#lib/image/digest.ts';
import { compareIso } from '#lib/iso9660/compare.ts';
import { runOf } from '#lib/iso9660/read-file.ts';
import { finishMedium } from '#lib/kinds/cd/finish-medium.ts';
import { type SplicedLayers, sameLayerData } from '#lib/kinds/cd/layer-data.ts';
import { makeHybridMedium } from './hybrid-medium.ts';
import { workshop } from './replay-workshop.ts';

/** A new layer whose file lacks the data that it shares with the base. */
export async function splicedShop(sizeBytes: number) {
  const list = `${'0'.repeat(32)}  ./${layer}\n`;
  const shop = await workshop((folder) => makeHybridMedium(folder, { layerBytes: sizeBytes + 1000 }), {
    [layer]: `head${'\0'.repeat(sizeBytes)}tables`,
    'md5sum.txt': list,
  });
  const { offsetBytes } = runOf(shop.base.files, layer);
  const restPath = shop.files.get(layer) ?? '';
  const place = { restPath, baseBytes: offsetBytes + 100, offsetBytes: 4, sizeBytes, layerBytes: sizeBytes + 10 };
  const restDigest = createHash('sha256').update('headtables').digest('hex');
  const layers: SplicedLayers = new Map([[layer, { ...place, restDigest }]]);
  const finish = (changed = layers) =>
    finishMedium({
      ...{ mediumPath: shop.basePath, newPath: shop.outputPath, layers: changed, signal, onProgress: () => {} },
      content: {
        layerAlgorithms: new Map([[layer, new Set(['md5'] as const)]]),
        finishLists: async (digests) => new Map([['md5sum.txt', `${digests.get(layer)?.get('md5')}${list.slice(32)}`]]),
      },
    });
  const compare = () =>
    compareIso({
      ...{ basePath: shop.basePath, base: shop.base, newPath: shop.outputPath, maximumBytes: 2 ** 30, signal },
      ...{ changed: new Set(shop.files.keys()), algorithms: checksumAlgorithms },
      alsoSame: ({ files }) => sameLayerData(files, layers),
    });
  const replay = () => shop.replay({ later: layers });
  return { ...shop, place, layers, replay, finish, compare, [Symbol.asyncDispose]: () => shop[Symbol.asyncDispose]() };
}

export const layer = 'casper/minimal.squashfs';
const { signal } = new AbortController();
