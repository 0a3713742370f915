import type { ImageType } from '../api/request.ts';
import { cd } from './cd/cd.ts';
import { cloud } from './cloud/cloud.ts';
import type { ImageKind } from './kind.ts';
import { touch } from './touch/touch.ts';

/** Every kind of image, by its `image_type` in requests. */
export const imageKinds = { cloud, cd, touch } as const satisfies Record<ImageType, ImageKind>;
