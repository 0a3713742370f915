import { element } from './dom.js';
import { formatBytes, webAddress } from './text.js';

/** The result of a build: image, changes of packages, artifacts; and its request. */

/**
 * @import { BuildStatus } from '#lib/api/status.ts'
 * @import { ChangesDocument } from '#lib/manifest/changes.ts'
 * @import { Child } from './dom.js'
 */

const packagesAtOnce = 200;
const filesAtOnce = 500;

/**
 * Names and values; rows without a value are left out.
 *
 * @param {readonly (readonly [string, Child])[]} rows
 */
export function facts(rows) {
  return element(
    'dl',
    { class: 'facts' },
    ...rows
      .filter(([, value]) => value !== null && value !== '' && value !== false)
      .map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))),
  );
}

/**
 * A link where the text is an address on the web, else the text.
 *
 * @param {string} address
 * @param {string} [text]
 */
export function maybeLink(address, text = address) {
  const href = webAddress(address);
  return href === null
    ? element('span', { class: 'address' }, address)
    : element('a', { href, rel: 'noreferrer', class: 'address' }, text);
}

/** @param {NonNullable<BuildStatus['image']>} image */
export function imageFacts(image) {
  const base = image.base_image;
  return element(
    'div',
    {},
    facts([
      ['Image', image.name],
      ['Location', maybeLink(image.location)],
      ['Download', image.download_url === undefined ? null : maybeLink(image.download_url, 'signed URL')],
      ['Size', `${formatBytes(image.size)}, ${image.format}`],
      ['Store', [image.store, image.region].filter((part) => part).join(', ')],
      ['SHA-256', element('code', {}, image.checksums.sha256)],
      ['Made by build', image.reused?.build_id ?? null],
      ['Packages from a layer', image.layer === undefined ? null : String(image.layer.packages)],
      ['Base image', base === undefined ? null : maybeLink(base.url)],
      ['Verified by', base === undefined ? null : base.verified_by.replaceAll('_', ' ')],
    ]),
    ...(image.warnings ?? []).map((warning) => element('p', { class: 'trouble' }, warning)),
  );
}

/**
 * The packages that were added, changed and removed; null where nothing is known of them.
 *
 * @param {Pick<NonNullable<BuildStatus['image']>, 'packages' | 'removed' | 'packages_omitted' | 'removed_omitted'>} image
 */
export function packageChanges({ packages = [], removed = [], packages_omitted = 0, removed_omitted = 0 }) {
  const added = packages.filter((one) => one.previous_version === undefined);
  const changed = packages.filter((one) => one.previous_version !== undefined);
  const groups = [
    packageGroup(
      'Added',
      added.map(({ name, version }) => [name, version]),
    ),
    packageGroup(
      'Changed',
      changed.map(({ name, version, previous_version: before }) => [name, `${before} → ${version}`]),
    ),
    packageGroup(
      'Removed',
      removed.map(({ name, version }) => [name, version]),
    ),
  ];
  if (packages.length + removed.length === 0)
    return element('p', { class: 'muted' }, 'The build has changed no package.');
  const omitted = packages_omitted + removed_omitted;
  return element(
    'div',
    { class: 'packages' },
    ...groups,
    omitted > 0 && element('p', { class: 'muted' }, `${omitted} more stand in the artifact “changes”.`),
  );
}

/**
 * @param {string} title
 * @param {readonly (readonly string[])[]} entries
 */
function packageGroup(title, entries) {
  if (entries.length === 0) return null;
  const rest = entries.length - packagesAtOnce;
  return element(
    'div',
    { class: 'package-group' },
    element('h3', {}, `${title} `, element('span', { class: 'number' }, String(entries.length))),
    element(
      'ul',
      {},
      ...entries
        .slice(0, packagesAtOnce)
        .map(([name = '', version = '']) => element('li', {}, element('b', {}, name), element('span', {}, version))),
    ),
    rest > 0 && element('p', { class: 'muted' }, `and ${rest} more`),
  );
}

/**
 * The files that the build has touched outside dpkg's knowledge.
 *
 * @param {ChangesDocument} changes
 */
export function changedFiles({ files, files_unknown: unknown = '' }) {
  if (files === null) return element('p', { class: 'muted' }, unknown);
  const { touched, complete } = files;
  if (touched.length === 0) return element('p', { class: 'muted' }, 'The build has changed no file outside packages.');
  const rest = touched.length - filesAtOnce;
  return element(
    'div',
    { class: 'packages', tabindex: '0', role: 'group', 'aria-label': 'Paths' },
    element(
      'ul',
      { class: 'package-group' },
      ...touched
        .slice(0, filesAtOnce)
        .map(({ path, type, size }) =>
          element(
            'li',
            {},
            element('span', { class: 'address' }, path),
            element('span', {}, size === undefined ? type : formatBytes(size)),
          ),
        ),
    ),
    (rest > 0 || !complete) &&
      element('p', { class: 'muted' }, rest > 0 ? `and ${rest} more, in the artifact “changes”` : 'and more'),
  );
}

/**
 * The files beside the image: links where they are on the web, else buttons that save them.
 *
 * @param {NonNullable<BuildStatus['artifacts']>} artifacts
 * @param {(name: string) => void} onSave
 */
export function artifactTable(artifacts, onSave) {
  return element(
    'table',
    {},
    element(
      'thead',
      {},
      element('tr', {}, ...['Content', 'File', 'Size'].map((title) => element('th', { scope: 'col' }, title))),
    ),
    element(
      'tbody',
      {},
      ...artifacts.map(({ role, name, location, download_url: url, size }) =>
        element(
          'tr',
          {},
          element('td', {}, role),
          element(
            'td',
            { title: location },
            webAddress(url ?? location) === null
              ? element('button', { type: 'button', class: 'link', click: () => onSave(name) }, name)
              : maybeLink(url ?? location, name),
          ),
          element('td', { class: 'numeric' }, formatBytes(size)),
        ),
      ),
    ),
  );
}

/** @param {BuildStatus} build */
export function requestFacts({ request, progress_trigger: exchange, caller }) {
  if (request === undefined)
    return facts([
      ['Caller', caller],
      ['Progress exchange', exchange],
    ]);
  const { base_image: base } = request;
  return facts([
    ['Base image', list(base.url_list.map((url) => maybeLink(url)))],
    ['Checksum', base.checksum === undefined ? null : element('code', {}, base.checksum)],
    ['PPAs', list(request.ppa_list)],
    ['Packages', list(request.package_list)],
    ['On hold', list(request.hold_packages)],
    ['Architectures', list(request.foreign_architectures)],
    ['Debconf questions', list(request.debconf_selections.map(({ owner, question }) => `${owner} ${question}`))],
    ['Output', [request.output_format, request.disk_size].filter((part) => part).join(', ')],
    ['Boot check', request.boot_check ? 'yes' : null],
    ['Reuse', request.reuse === false ? 'no' : null],
    ['Downgrades', request.allow_downgrades ? 'allowed' : null],
    ['Caller', caller],
    ['Progress exchange', exchange],
    ['Cancel URL', request.cancel_url],
    ['Callback URL', request.callback_url],
    ['Not kept', list(request.not_kept.map(({ path, reason }) => `${path} (${reason})`))],
  ]);
}

/** @param {readonly (string | Node)[]} entries */
function list(entries) {
  if (entries.length === 0) return null;
  return element('ul', { class: 'plain' }, ...entries.map((entry) => element('li', {}, entry)));
}
