import { z } from 'zod';
import { CdChoice } from './base-image.ts';
import { field } from './field.ts';
import { formatPpa } from './ppa.ts';
import type { BuildRequest } from './request.ts';

/**
 * The request of a build as the service remembers and shows it after its job is gone: without what may be secret, and
 * within a few KiB.
 */

const NotKept = z.object({
  path: field(z.string(), 'JSONPath of the field in the request.', '$.debconf_selections'),
  reason: field(
    z.enum(['secret', 'size']),
    '`secret`: what may be a secret was left out. `size`: the request is larger than what is kept of one.',
    'secret',
  ),
});

const entries = (description: string, example: string[]) => field(z.array(z.string()), description, example);

const KeptBaseImage = z.object({
  image_type: field(z.string(), 'The kind of image.', 'cloud'),
  url_list: entries('Its URLs, without user, password and query.', ['http://images.example.org/trusty.img']),
  series: field(z.string(), 'Series of the image.', 'trusty'),
  checksum: field(z.string(), 'Digest that the file must have.', `sha256:${'0'.repeat(64)}`).optional(),
  cd: field(CdChoice, 'How the medium of a CD image is changed.', { compact: true }).optional(),
});

const KeptQuestion = z.object({
  owner: field(z.string(), 'Package that owns the question.', 'tzdata'),
  question: field(z.string(), 'Name of the question.', 'tzdata/Areas'),
  type: field(z.string(), 'Type of the answer.', 'select'),
});

export const KeptRequest = z.object({
  base_image: field(KeptBaseImage, 'The base image.', {
    ...{ image_type: 'cloud', url_list: ['http://images.example.org/trusty.img'], series: 'trusty' },
  }),
  ppa_list: entries('The PPAs.', ['ppa:example/tools']),
  package_list: entries('The packages.', ['hello', 'tree=1.6.0-1']),
  debconf_selections: field(
    z.array(KeptQuestion),
    'The questions that the request answers. The answers are not kept, since they may be passwords.',
    [{ owner: 'tzdata', question: 'tzdata/Areas', type: 'select' }],
  ),
  foreign_architectures: entries('Further architectures.', ['i386']),
  allow_downgrades: field(z.boolean(), 'Whether packages may be replaced by older versions.', false),
  hold_packages: entries('The packages on hold.', ['hello']),
  disk_size: field(z.string(), 'Size of the disk.', '20GiB').optional(),
  output_format: field(z.string(), 'Format of the finished image.', 'qcow2'),
  boot_check: field(z.boolean(), 'Whether the finished image is booted.', false),
  // Records of an older version lack it.
  reuse: field(z.boolean(), 'Whether the image of an earlier build may be taken.', true).default(true),
  cancel_url: field(
    z.string().nullable(),
    'The server that is asked whether to cancel.',
    'http://lander.example.org/…',
  ),
  callback_url: field(
    z.string().nullable(),
    'The server that gets the callback, of the header `X-Callback-Url` or the body.',
    'https://lander.example.org/…',
  ),
  not_kept: field(
    z.array(NotKept),
    'Fields that are not here as they were sent, beside the paths of `cancel_url` and `callback_url`. A retry is refused for each.',
    [{ path: '$.debconf_selections', reason: 'secret' }],
  ),
});
export type KeptRequest = z.infer<typeof KeptRequest>;

export const exampleKept: KeptRequest = {
  base_image: { image_type: 'cloud', url_list: ['http://images.example.org/trusty.img'], series: 'trusty' },
  ppa_list: ['ppa:example/tools'],
  package_list: ['hello', 'tree=1.6.0-1'],
  debconf_selections: [],
  ...{ foreign_architectures: [], allow_downgrades: false, hold_packages: ['hello'] },
  ...{ output_format: 'qcow2', boot_check: false, reuse: true },
  cancel_url: 'http://lander.example.org/…',
  callback_url: null,
  not_kept: [],
};

/** Most bytes of JSON of a kept request. */
export const maximumKeptBytes = 8 * 1024;
/** Of these, for names of fields and for values of a fixed size. */
const fixedBytes = 1024;

/** The part of a request that may be remembered. `callbackUrl`: of its header or body. Linear in the request. */
export function keepRequest(request: BuildRequest, callbackUrl: string | null): KeptRequest {
  const { ticket_id, cancel_url, base_image, ppa_list, package_list, debconf_selections, ...more } = request;
  const { foreign_architectures, hold_packages, disk_size, allow_downgrades, ...ofImage } = more;
  const { output_format, boot_check, reuse, ...rest } = ofImage;
  const { image_type, url_list, series, checksum, ...ofAllKinds } = base_image;
  const { cd, ...ofKind } = { cd: undefined, ...ofAllKinds };
  // A new field of a request has to be dealt with here: until then, this does not compile.
  const { progress_trigger: _trigger, callback_url: _callback, ...unknown } = rest;
  unknown satisfies Record<string, never>;
  ofKind satisfies Record<string, never>;

  const notKept: KeptRequest['not_kept'] = [];
  const shown = new Set([String(ticket_id), series]);
  let left = maximumKeptBytes - fixedBytes;
  const note = (path: string, reason: 'secret' | 'size') => {
    notKept.push({ path, reason });
    left -= bytesOf(notKept.at(-1));
  };
  const keepList = <Entry>(entries: readonly Entry[], path: string, keep = (entry: Entry, _index: number) => entry) => {
    const kept: Entry[] = [];
    for (const [index, entry] of entries.entries()) {
      const one = keep(entry, index);
      left -= bytesOf(one);
      if (left < 0) {
        notKept.push({ path, reason: 'size' });
        break;
      }
      kept.push(one);
    }
    return kept;
  };
  const keepUrl = (url: string, path: string) => {
    const kept = withoutSecrets(url, shown);
    if (kept !== url) note(path, 'secret');
    return kept;
  };
  const keepOneUrl = (url: string | null, path: string) =>
    url === null ? null : (keepList([url], path, () => keepUrl(url, path))[0] ?? null);

  const urls = keepList(url_list, '$.base_image.url_list', (url, index) =>
    keepUrl(url, `$.base_image.url_list[${index}]`),
  );
  const cancelUrl = keepOneUrl(cancel_url, '$.cancel_url');
  const callback = keepOneUrl(callbackUrl, '$.callback_url');
  if (debconf_selections.length > 0) note('$.debconf_selections', 'secret');
  const questions = debconf_selections.map(({ owner, question, type }) => ({ owner, question, type }));
  const optional = { ...(checksum === undefined ? {} : { checksum }), ...(cd === undefined ? {} : { cd }) };
  return {
    base_image: { image_type, url_list: urls, series, ...optional },
    ppa_list: keepList(ppa_list.map(formatPpa), '$.ppa_list'),
    package_list: keepList(package_list, '$.package_list'),
    foreign_architectures: keepList(foreign_architectures, '$.foreign_architectures'),
    hold_packages: keepList(hold_packages, '$.hold_packages'),
    debconf_selections: keepList(questions, '$.debconf_selections'),
    ...{ allow_downgrades, output_format, boot_check, reuse, ...(disk_size === undefined ? {} : { disk_size }) },
    ...{ cancel_url: cancelUrl, callback_url: callback, not_kept: notKept },
  };
}

/**
 * The URL without its query and fragment, unless they tell nothing that is not shown anyway: queries carry signatures
 * and tokens, under names that nobody can list.
 */
function withoutSecrets(url: string, shown: ReadonlySet<string>): string {
  const mark = url.search(/[?#]/);
  if (mark === -1) return url;
  const { searchParams, hash } = new URL(url);
  return hash === '' && [...searchParams.values()].every((value) => shown.has(value)) ? url : url.slice(0, mark);
}

/** The request as callers see it: of the URLs that only its caller's servers answer, the server. */
export function showRequest(kept: KeptRequest): KeptRequest {
  const server = (url: string | null) => (url === null ? null : `${new URL(url).origin}/…`);
  return { ...kept, cancel_url: server(kept.cancel_url), callback_url: server(kept.callback_url) };
}

function bytesOf(value: unknown): number {
  // With the comma after it.
  return Buffer.byteLength(JSON.stringify(value)) + 1;
}
