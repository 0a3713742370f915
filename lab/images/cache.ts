import { join } from 'node:path';

/** Shared by tests, quickstart, bench and soak: a base image takes a minute and a half to make. */
export const baseImageCache = join(import.meta.dirname, '..', '..', '.cache', 'base-images');
