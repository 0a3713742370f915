import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';

/** The error of ours that the promise rejects with; fails for any other, and where there is none. */
export async function failure(promise: Promise<unknown>): Promise<ImageBuilderError> {
  const error: unknown = await promise.then(
    () => new Error('nothing was thrown'),
    (thrown: unknown) => thrown,
  );
  assert.instance(error, ImageBuilderError, String(error));
  return error as ImageBuilderError;
}
