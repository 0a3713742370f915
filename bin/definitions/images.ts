import type { Command } from 'commander';
import { deleteImage, downloadImage, type ImagesOptions, listImages, showImage } from '../images-commands.ts';
import { finish, withGateway } from './options.ts';

export function addImages(program: Command): void {
  const images = withGateway(program.command('images'))
    .description(
      'Lists the images in the store, the newest first, page by page; its commands show, download and delete them.',
    )
    .option('--limit <n>', 'images on a page, 1 to 100 (default: 20)')
    .option('--cursor <cursor>', 'the next page, as the page before names it')
    .option('--json', 'write the answer of the API')
    .addHelpText('after', '\nExamples:\n  $ imagebuilder images\n  $ imagebuilder images --limit 100 --json')
    .action((options: ImagesOptions) => finish(listImages(options)));

  withGateway(images.command('show'))
    .description('Shows everything that the store has of one build.')
    .argument('<build-id>', 'as `images` shows it')
    .option('--json', 'write the answer of the API')
    .addHelpText('after', '\nExample:\n  $ imagebuilder images show 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55')
    .action((buildId: string, _: object, command: Command) => finish(showImage(buildId, command.optsWithGlobals())));

  withGateway(images.command('download'))
    .description('Downloads the image of a build and the files beside it, and verifies them.')
    .argument('<build-id>', 'as `images` shows it')
    .option('--to <folder>', 'the folder that they go into', '.')
    .option('--image-only', 'leave out the files beside the image')
    .addHelpText(
      'after',
      `
A file appears under its name when it is whole and its SHA-256 is right. After an interruption, the same command goes on.
Files in OpenStack without a download URL are read with the OS_* variables or clouds.yaml of the caller.

Example:
  $ imagebuilder images download 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55 --to images`,
    )
    .action((buildId: string, _: object, command: Command) =>
      finish(downloadImage(buildId, command.optsWithGlobals())),
    );

  withGateway(images.command('delete'))
    .description('Deletes the image of a build from the store, with the files beside it and the log.')
    .argument('<build-id>', 'as `images` shows it')
    .addHelpText('after', '\nExample:\n  $ imagebuilder images delete 0b9f1c2e-5a64-4a1e-9d3b-7c1f0e2d4a55')
    .action((buildId: string, _: object, command: Command) => finish(deleteImage(buildId, command.optsWithGlobals())));
}
