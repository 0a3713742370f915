import { makeBaseImage } from './base-image.ts';

/**
 * `base-image-process.ts FOLDER VARIANT` makes the base image in a process of its own: its progress goes to standard
 * error, a description of the image as JSON to standard output.
 */
const [cacheDirectory = '', variant] = process.argv.slice(2);
const onLine = (line: string) => process.stderr.write(`${line}\n`);
const image = await makeBaseImage({
  cacheDirectory,
  variant: variant === 'separate-boot' ? variant : 'plain',
  onLine,
});
process.stdout.write(JSON.stringify(image));
