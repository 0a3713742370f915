import { Command, InvalidArgumentError } from 'commander';
import { Series } from '#lib/api/base-image.ts';
import { HttpUrl } from '#lib/api/url.ts';
import type { ImageType } from './make-base.ts';

/** The options of the quickstart's command line. */
export interface QuickstartOptions {
  /** A base image to take instead of making one; `series` is given with it. */
  readonly baseImage?: string;
  readonly series?: string;
  /** Whether the image is a CD image of a live system instead of a disk of a cloud. */
  readonly cd?: true;
  /** Whether the image is an archive of a root file system, as of phones. */
  readonly touch?: true;
  /** Whether the finished image is booted as well. */
  readonly boot?: true;
  /** Whether the image goes to a private Glance, with Keystone, instead of a folder. */
  readonly openstack?: true;
}

/** Reads the command line. For `--help`, or with a fault in it, prints the text and ends the process. */
export function readOptions(argv: readonly string[]): QuickstartOptions {
  const command = new Command('npm run quickstart --')
    .description(
      'Makes a cloud image, serves a PPA, has Image Builder put the PPA and its packages into the image, and shows the result. Everything runs on this machine and is stopped at the end.',
    )
    .option(
      '--base-image <url>',
      'take this image (qcow2; ISO 9660 with --cd; tar with --touch) instead of making one',
      parse(HttpUrl),
    )
    .option('--series <name>', 'series of that image, such as noble', parse(Series))
    .option('--cd', 'rebuild a CD image of a live system (to make one needs root and three minutes, once a week)')
    .option(
      '--touch',
      'rebuild an armhf root file system of a phone (to make one needs root, and a minute or two once a week)',
    )
    .option('--boot', 'boot the finished image in an emulated machine (two minutes more)')
    .option('--openstack', 'put the image into a private Glance behind Keystone (two minutes more the first time)')
    .addHelpText(
      'after',
      `
Examples:
  $ npm run quickstart
  $ npm run quickstart -- --boot
  $ npm run quickstart -- --openstack
  $ npm run quickstart -- --cd --boot
  $ npm run quickstart -- --touch
  $ npm run quickstart -- --base-image https://cloud-images.ubuntu.com/noble/current/noble-server-cloudimg-amd64.img --series noble`,
    )
    .showHelpAfterError('(see `npm run quickstart -- --help`)')
    .parse([...argv], { from: 'user' });
  const options = command.opts<QuickstartOptions>();
  if ((options.baseImage === undefined) !== (options.series === undefined)) {
    command.error('--base-image and --series go together: the series is that of the image');
  }
  if (options.cd && options.touch) command.error('--cd and --touch exclude each other: an image is one or the other');
  const kind = options.cd ? '--cd' : options.touch ? '--touch' : null;
  if (kind !== null && options.openstack) {
    command.error(`${kind} and --openstack exclude each other: Glance is for disks`);
  }
  if (options.touch && options.boot) command.error('--touch and --boot exclude each other: only its phone boots it');
  return options;
}

export function imageTypeOf({ cd, touch }: QuickstartOptions): ImageType {
  return cd ? 'cd' : touch ? 'touch' : 'cloud';
}

function parse(schema: typeof HttpUrl | typeof Series): (text: string) => string {
  return (text) => {
    const result = schema.safeParse(text);
    if (result.success) return result.data;
    throw new InvalidArgumentError(`It ${result.error.issues.map((issue) => issue.message).join(', and ')}.`);
  };
}
