import { ImageBuilderError } from '../../errors.ts';

/** The errors by which a qcow2 image is refused. */

export function unsafe(message: string): ImageBuilderError {
  return new ImageBuilderError('image.unsafe', message);
}

export function unsupported(message: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', message);
}

export function corrupt(message: string, options?: { readonly cause: unknown }): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `the qcow2 image is damaged: ${message}`, options);
}

/** The error for a file of this size, too short to hold its own header. */
export function cutOff(sizeBytes: number): ImageBuilderError {
  return new ImageBuilderError('image.truncated', `the image ends after ${sizeBytes} bytes, within its qcow2 header`);
}

export function externalDataFile(): ImageBuilderError {
  return unsafe('the qcow2 image keeps its data in an external file, which would read another file of the worker');
}
