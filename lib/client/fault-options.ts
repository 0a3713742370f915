import type { RequestFault } from '../errors.ts';
import { quoted, upTo } from '../text.ts';
import type { RequestFlags } from './request.ts';

/** Faults of a request in the words of the command line that it was made from. */

type Value = string | readonly string[] | undefined;

/** The option of each member of a request, with its value. A switch has none. */
const options: Readonly<Record<string, { readonly option: string; readonly value?: (flags: RequestFlags) => Value }>> =
  {
    ticket_id: { option: '--ticket-id', value: (flags) => flags.ticketId },
    progress_trigger: { option: '--progress-trigger', value: (flags) => flags.progressTrigger },
    cancel_url: { option: '--cancel-url', value: (flags) => flags.cancelUrl },
    callback_url: { option: '--callback-url', value: (flags) => flags.callbackUrl },
    'base_image.url_list': { option: '--image-url', value: (flags) => flags.imageUrls },
    'base_image.series': { option: '--series', value: (flags) => flags.series },
    'base_image.checksum': { option: '--checksum', value: (flags) => flags.checksum },
    ppa_list: { option: '--ppa', value: (flags) => flags.ppas },
    package_list: { option: '--package', value: (flags) => flags.packages },
    foreign_architectures: { option: '--foreign-architecture', value: (flags) => flags.foreignArchitectures },
    hold_packages: { option: '--hold', value: (flags) => flags.hold },
    disk_size: { option: '--disk-size', value: (flags) => flags.diskSize },
    output_format: { option: '--output-format', value: (flags) => flags.outputFormat },
    allow_downgrades: { option: '--allow-downgrades' },
    boot_check: { option: '--boot-check' },
    reuse: { option: '--no-reuse' },
  };

/**
 * The fault with the option and its value in place of the JSONPath: `--ppa "foo"`. An answer for debconf is named by
 * its line, since it may be a password. The path stays where no option has made the member.
 */
export function faultInOptions({ path, message }: RequestFault, flags: RequestFlags): RequestFault {
  const [, member = '', digits] = /^\$\.([a-z_.]+)(?:\[([0-9]+)\])?/.exec(path) ?? [];
  const index = digits === undefined ? undefined : Number(digits);
  if (member === 'debconf_selections' && flags.debconf !== undefined) {
    const line = index === undefined ? undefined : flags.debconf.lines[index]?.number;
    return {
      path: `--debconf-selections ${flags.debconf.path}${line === undefined ? '' : `, line ${line}:`}`,
      message,
    };
  }
  const known = options[member];
  if (known === undefined) return { path, message };
  const values = known.value?.(flags);
  const value = typeof values === 'string' ? values : index === undefined ? undefined : values?.[index];
  if (value === undefined) return { path: known.option, message };
  const place = `${known.option} ${quoted(shown(value))}`;
  // Some messages begin with the value themselves.
  const own = `${JSON.stringify(value)} `;
  return { path: place, message: message.startsWith(own) ? message.slice(own.length) : message };
}

/** The same for a query, whose parameters are the options of the same names: `--limit "0"`. */
export function faultInQuery(
  { path, message }: RequestFault,
  query: Readonly<Record<string, string | undefined>>,
): RequestFault {
  const name = path.slice('$.'.length);
  const value = Object.hasOwn(query, name) ? query[name] : undefined;
  return value === undefined ? { path, message } : { path: `--${name.replaceAll('_', '-')} ${quoted(value)}`, message };
}

/** A value without the passwords that a URL in it may carry: before an `@`, or in its query. */
function shown(value: string): string {
  const start = value.indexOf('//') + 2;
  if (start < 2) return value;
  const address = upTo(value, '?');
  const at = address.lastIndexOf('@');
  const safe = at > start ? `${address.slice(0, start)}…${address.slice(at)}` : address;
  return address === value ? safe : `${safe}?…`;
}
