import { ImageBuilderError } from '../errors.ts';

/** The errors by which a SquashFS is refused. */

export function corrupt(message: string, options?: { readonly cause: unknown }): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `the SquashFS is damaged: ${message}`, options);
}

export function unsafe(message: string): ImageBuilderError {
  return new ImageBuilderError('image.unsafe', `the SquashFS is refused: ${message}`);
}

export function unsupported(message: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', `the SquashFS cannot be changed: ${message}`);
}

export function tooLarge(message: string): ImageBuilderError {
  return new ImageBuilderError('image.too_large', `the SquashFS is too large: ${message}`);
}

export function truncated(message: string): ImageBuilderError {
  return new ImageBuilderError('image.truncated', `the SquashFS ends too early: ${message}`);
}
