import { ApiError, call } from './calls.js';
import { element, fill } from './dom.js';
import { buildFragment } from './fragment.js';
import { fieldOf, readRequest } from './request.js';
import { counted } from './text.js';

/** The form that submits a build. The API checks it, and its faults are shown at the fields. */

/**
 * @import { Addresses } from './addresses.js'
 * @import { Field } from './request.js'
 */

/** @type {readonly Field[]} */
const first = [
  { name: 'ticket_id', label: 'Ticket', help: 'Your name of the job.', kind: 'text', required: true },
  { name: 'series', label: 'Series', help: 'Such as noble or trusty.', kind: 'text', required: true },
  {
    name: 'url_list',
    label: 'Base image',
    help: 'URLs of the image and of its lists of checksums, one a line.',
    kind: 'lines',
    required: true,
  },
  { name: 'package_list', label: 'Packages', help: 'Such as hello or tree=1.6.0-1, one a line.', kind: 'lines' },
  { name: 'ppa_list', label: 'PPAs', help: 'Such as ppa:owner/name, one a line.', kind: 'lines' },
  {
    name: 'progress_trigger',
    label: 'Progress exchange',
    help: 'The AMQP exchange that gets the events.',
    kind: 'text',
    required: true,
  },
];
/** @type {readonly Field[]} */
const further = [
  { name: 'output_format', label: 'Format', help: '', kind: 'choice', choices: ['qcow2', 'raw'] },
  { name: 'disk_size', label: 'Disk size', help: 'Such as 20GiB. Empty: as the base image.', kind: 'text' },
  { name: 'checksum', label: 'Checksum', help: 'Such as sha256:… of the base image’s file.', kind: 'text' },
  { name: 'hold_packages', label: 'Packages on hold', help: 'One a line.', kind: 'lines' },
  { name: 'foreign_architectures', label: 'Further architectures', help: 'Such as i386, one a line.', kind: 'lines' },
  {
    name: 'debconf_selections',
    label: 'Debconf selections',
    help: 'Lines “owner question type value”.',
    kind: 'lines',
  },
  { name: 'cancel_url', label: 'Cancel URL', help: 'Its answer may cancel the build.', kind: 'text' },
  { name: 'callback_url', label: 'Callback URL', help: 'Gets the last event.', kind: 'text' },
  { name: 'boot_check', label: 'Boot the finished image before it is stored', help: '', kind: 'flag' },
  { name: 'allow_downgrades', label: 'Allow older versions of packages', help: '', kind: 'flag' },
  {
    name: 'reuse',
    label: 'Build anew, even where the same image was built before',
    help: '',
    kind: 'flag',
    inverted: true,
  },
];

/**
 * Draws the form. What was typed stays while the page is open.
 *
 * @param {HTMLElement} place
 * @param {{ addresses: Addresses, onError: (error: unknown) => void, onNews: (news: string) => void }} options
 */
export function createForm(place, { addresses, onError, onNews }) {
  const summary = element('div', { class: 'summary', role: 'alert', tabindex: '-1' });
  const submit = element('button', { class: 'primary' }, 'Submit build');
  const more = element(
    'details',
    {},
    element('summary', {}, 'More options'),
    element('div', { class: 'fields' }, ...further.map(fieldNode)),
  );
  const form = element(
    'form',
    { class: 'card form', novalidate: true, 'aria-labelledby': 'form-title' },
    element('h1', { id: 'form-title', tabindex: '-1' }, 'New build'),
    summary,
    element('div', { class: 'fields' }, ...first.map(fieldNode)),
    more,
    element('p', { class: 'actions' }, submit),
  );
  summary.hidden = true;
  fill(place, form);

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    submit.disabled = true;
    showFaults([]);
    try {
      const accepted = await call(`${addresses.builds}/`, {
        method: 'POST',
        body: readRequest([...first, ...further], readField),
      });
      onNews((accepted.warnings ?? []).join(' ') || 'The build was submitted.');
      location.hash = buildFragment(accepted.build_id);
    } catch (error) {
      if (error instanceof ApiError && error.problem.status < 500 && error.problem.status !== 401)
        showFaults(error.problem.faults ?? [], error.message);
      else onError(error);
    } finally {
      submit.disabled = false;
    }
  });

  /**
   * @param {readonly { path: string, message: string }[]} faults
   * @param {string} [detail]
   */
  function showFaults(faults, detail) {
    for (const { name } of [...first, ...further]) setFault(name, '');
    summary.hidden = detail === undefined;
    if (detail === undefined) return;
    const placed = faults.map((fault) => ({ ...fieldOf(fault), fault }));
    for (const { name } of [...first, ...further]) {
      setFault(
        name,
        placed
          .filter((one) => one.name === name)
          .map((one) => one.text)
          .join('; '),
      );
    }
    if (placed.some(({ name }) => further.some((field) => field.name === name))) more.open = true;
    fill(
      summary,
      element('p', {}, faults.length === 0 ? detail : `The request has ${counted(faults.length, 'fault')}:`),
      faults.length > 0 &&
        element(
          'ul',
          {},
          ...placed.map(({ name, text, fault }) =>
            element('li', {}, name === null ? `${fault.path} ${fault.message}` : faultLink(name, text)),
          ),
        ),
    );
    summary.focus();
  }
}

/**
 * @param {string} name
 * @param {string} text
 */
function faultLink(name, text) {
  const label = [...first, ...further].find((field) => field.name === name)?.label ?? name;
  const toField = () => inputOf(name).focus();
  return element('button', { type: 'button', class: 'link', click: toField }, `${label}: ${text}`);
}

/** @param {Field} field */
function fieldNode({ name, label, help, kind, required, choices }) {
  const id = `field-${name}`;
  const describedBy = `${id}-help ${id}-fault`;
  const common = {
    id,
    name,
    autocomplete: 'off',
    spellcheck: 'false',
    'aria-describedby': describedBy,
    'aria-required': required ? 'true' : undefined,
  };
  const fault = element('p', { class: 'fault', id: `${id}-fault` });
  const helpNode = element('p', { class: 'help', id: `${id}-help` }, help);
  if (kind === 'flag') {
    const box = element('input', { ...common, type: 'checkbox' });
    return element('div', { class: 'field flag' }, element('label', { class: 'check' }, box, label), helpNode, fault);
  }
  const input =
    kind === 'lines'
      ? element('textarea', { ...common, rows: '3' })
      : kind === 'choice'
        ? element('select', common, ...(choices ?? []).map((choice) => element('option', { value: choice }, choice)))
        : element('input', { ...common, type: 'text' });
  const mark = required ? element('span', { class: 'required' }, 'required') : null;
  return element('div', { class: 'field' }, element('label', { for: id }, label, mark), input, helpNode, fault);
}

/** @param {string} name */
function inputOf(name) {
  const found = document.getElementById(`field-${name}`);
  if (found instanceof HTMLInputElement || found instanceof HTMLTextAreaElement || found instanceof HTMLSelectElement)
    return found;
  throw new Error(`the form has no field ${name}`);
}

/** @param {string} name */
function readField(name) {
  const input = inputOf(name);
  return input instanceof HTMLInputElement && input.type === 'checkbox' ? input.checked : input.value;
}

/**
 * @param {string} name
 * @param {string} fault
 */
function setFault(name, fault) {
  const place = document.getElementById(`field-${name}-fault`);
  if (place !== null) place.textContent = fault;
  if (fault === '') inputOf(name).removeAttribute('aria-invalid');
  else inputOf(name).setAttribute('aria-invalid', 'true');
}
