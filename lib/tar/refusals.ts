import { ImageBuilderError } from '../errors.ts';
import { quoted } from '../text.ts';

/** The errors by which a tar archive is refused. */

export function corrupt(message: string): ImageBuilderError {
  return new ImageBuilderError('image.corrupt', `the tar archive is damaged: ${message}`);
}

export function truncated(message: string): ImageBuilderError {
  return new ImageBuilderError('image.truncated', `the tar archive ends too early: ${message}`);
}

export function unsafe(message: string): ImageBuilderError {
  return new ImageBuilderError('image.unsafe', `the tar archive is refused: ${message}`);
}

export function unsupported(message: string): ImageBuilderError {
  return new ImageBuilderError('image.unsupported', `the tar archive cannot be changed: ${message}`);
}

export function tooLarge(message: string): ImageBuilderError {
  return new ImageBuilderError('image.too_large', `the tar archive is too large: ${message}`);
}

/** A name as it may stand in a message. Each of its characters is one byte. */
export function shown(name: string): string {
  return quoted(Buffer.from(name.slice(0, 1024), 'latin1').toString('utf8'));
}
