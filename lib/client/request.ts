import { ImageBuilderError } from '../errors.ts';

/** The parts of a build request as a person types them. */
export interface RequestFlags {
  readonly imageUrls: readonly string[];
  readonly series?: string;
  readonly checksum?: string;
  readonly ppas: readonly string[];
  readonly packages: readonly string[];
  readonly outputFormat?: string;
  /** A file with answers for debconf. */
  readonly debconf?: DebconfFile;
  readonly foreignArchitectures?: readonly string[];
  readonly allowDowngrades?: boolean;
  readonly hold?: readonly string[];
  readonly bootCheck?: boolean;
  readonly reuse?: boolean;
  readonly diskSize?: string;
  readonly ticketId?: string;
  readonly progressTrigger?: string;
  readonly cancelUrl?: string;
  readonly callbackUrl?: string;
}

export interface DebconfFile {
  readonly path: string;
  readonly lines: readonly DebconfLine[];
}

/** An answer, and the line of the file that it begins on, from 1. */
export interface DebconfLine {
  readonly text: string;
  readonly number: number;
}

/** Exchange for events when the user names none; it need not exist. */
const defaultProgressTrigger = 'imagebuilder-command';

/**
 * Makes the body of a submission. The API checks most of it, and `faultInOptions` names its faults in the terms of the
 * command line. Throws `request.invalid` where options are missing.
 */
export function requestFromFlags(flags: RequestFlags, newTicket: () => string): Record<string, unknown> {
  const missing = [
    ...(flags.imageUrls.length === 0 ? ['--image-url'] : []),
    ...(flags.series === undefined ? ['--series'] : []),
  ];
  if (missing.length > 0) {
    throw new ImageBuilderError(
      'request.invalid',
      `${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing; give a whole request with --request FILE instead, or see \`imagebuilder build --help\``,
    );
  }
  const checksum = flags.checksum === undefined ? {} : { checksum: flags.checksum };
  return {
    ticket_id: flags.ticketId ?? newTicket(),
    ...(flags.cancelUrl === undefined ? {} : { cancel_url: flags.cancelUrl }),
    ...(flags.callbackUrl === undefined ? {} : { callback_url: flags.callbackUrl }),
    base_image: { image_type: 'cloud', url_list: flags.imageUrls, series: flags.series, ...checksum },
    ppa_list: flags.ppas,
    package_list: flags.packages,
    ...(flags.debconf === undefined ? {} : { debconf_selections: flags.debconf.lines.map(({ text }) => text) }),
    ...(flags.foreignArchitectures === undefined ? {} : { foreign_architectures: flags.foreignArchitectures }),
    ...(flags.allowDowngrades === true ? { allow_downgrades: true } : {}),
    ...(flags.hold === undefined ? {} : { hold_packages: flags.hold }),
    ...(flags.diskSize === undefined ? {} : { disk_size: flags.diskSize }),
    ...(flags.outputFormat === undefined ? {} : { output_format: flags.outputFormat }),
    ...(flags.bootCheck === undefined ? {} : { boot_check: flags.bootCheck }),
    ...(flags.reuse === false ? { reuse: false } : {}),
    progress_trigger: flags.progressTrigger ?? defaultProgressTrigger,
  };
}

/** The lines of a file for debconf-set-selections that are no comments; a backslash at the end continues a line. */
export function debconfLines(content: string): DebconfLine[] {
  const found: DebconfLine[] = [];
  let text = '';
  let first = 1;
  for (const [index, line] of content.split('\n').entries()) {
    if (line.endsWith('\\')) {
      text += line.slice(0, -1);
      continue;
    }
    text += line;
    if (text.trim() !== '' && !text.trimStart().startsWith('#')) found.push({ text, number: first });
    text = '';
    first = index + 2;
  }
  if (text.trim() !== '' && !text.trimStart().startsWith('#')) found.push({ text, number: first });
  return found;
}
