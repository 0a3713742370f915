/** The fields of the form, and the request that they make. */

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {string} help
 * @property {'text' | 'lines' | 'choice' | 'flag'} kind
 * @property {boolean} [required]
 * @property {boolean} [inverted] A flag that is false in the request where it is set.
 * @property {readonly string[]} [choices]
 */

/** Fields of the request that are members of its `base_image`. */
const ofBaseImage = new Set(['url_list', 'series', 'checksum']);

/**
 * The request, without the fields that are empty: the API says which of them it needs.
 *
 * @param {readonly Field[]} fields
 * @param {(name: string) => string | boolean} readField
 * @returns {Record<string, unknown>}
 */
export function readRequest(fields, readField) {
  /** @type {Record<string, unknown>} */
  const base = { image_type: 'cloud' };
  /** @type {Record<string, unknown>} */
  const request = {};
  for (const { name, kind, inverted = false } of fields) {
    const value = readField(name);
    const target = ofBaseImage.has(name) ? base : request;
    if (typeof value === 'boolean') target[name] = value !== inverted;
    else if (kind === 'lines') target[name] = linesOf(value);
    else if (value.trim() !== '') target[name] = value.trim();
  }
  return { ...request, base_image: base };
}

/** @param {string} text */
function linesOf(text) {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/**
 * The field that a fault of the API belongs to (null: none of the form's), and the fault's text, with the line in a
 * field of several.
 *
 * @param {{ path: string, message: string }} fault
 * @returns {{ name: string | null, text: string }}
 */
export function fieldOf({ path, message }) {
  const found = /^\$\.(?:base_image\.)?([a-z_]+)(?:\[(\d{1,6})\])?/.exec(path);
  const [, name = '', index] = found ?? [];
  if (!known.has(name)) return { name: null, text: message };
  return { name, text: index === undefined ? message : `line ${Number(index) + 1} ${message}` };
}

const known = new Set([
  ...ofBaseImage,
  ...['ticket_id', 'progress_trigger', 'ppa_list', 'package_list', 'output_format', 'disk_size', 'hold_packages'],
  ...['foreign_architectures', 'debconf_selections', 'cancel_url', 'callback_url', 'boot_check', 'allow_downgrades'],
  'reuse',
]);
