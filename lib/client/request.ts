import { ImageBuilderError } from '../errors.ts';

/** The parts of a build request as a person types them. */
export interface RequestFlags {
  readonly imageUrls: readonly string[];
  readonly series?: string;
  readonly checksum?: string;
  readonly ppas: readonly string[];
  readonly packages: readonly string[];
  readonly outputFormat?: string;
  /** Lines for debconf, as a file has them. */
  readonly debconf?: string;
  readonly foreignArchitectures?: readonly string[];
  readonly allowDowngrades?: boolean;
  readonly hold?: readonly string[];
  readonly bootCheck?: boolean;
  readonly diskSize?: string;
  readonly ticketId?: string;
  readonly progressTrigger?: string;
  readonly cancelUrl?: string;
  readonly callbackUrl?: string;
}

/** Exchange for events when the user names none; it need not exist. */
const defaultProgressTrigger = 'imagebuilder-command';

/**
 * Makes the body of a submission. The API checks most of it. Only faults that the API could not name in the terms of
 * the command line are checked here, with `request.invalid`.
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
    ...(flags.debconf === undefined ? {} : { debconf_selections: debconfLines(flags.debconf) }),
    ...(flags.foreignArchitectures === undefined ? {} : { foreign_architectures: flags.foreignArchitectures }),
    ...(flags.allowDowngrades === true ? { allow_downgrades: true } : {}),
    ...(flags.hold === undefined ? {} : { hold_packages: flags.hold }),
    ...(flags.diskSize === undefined ? {} : { disk_size: flags.diskSize }),
    ...(flags.outputFormat === undefined ? {} : { output_format: flags.outputFormat }),
    ...(flags.bootCheck === undefined ? {} : { boot_check: flags.bootCheck }),
    progress_trigger: flags.progressTrigger ?? defaultProgressTrigger,
  };
}

/** The lines of a file for debconf-set-selections that are no comments; a backslash at the end continues a line. */
function debconfLines(text: string): string[] {
  const lines = text.replaceAll('\\\n', '').split('\n');
  return lines.filter((line) => line.trim() !== '' && !line.trimStart().startsWith('#'));
}
