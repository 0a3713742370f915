import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { allSettings } from '#lib/config/load.ts';
import { secretFiles } from '#lib/config/secrets.ts';
import type { Setting } from '#lib/config/setting.ts';
import { dependenciesOn } from '../packaging/dependencies.ts';

/**
 * The parts of the charm that follow from the program: its options, the Debian packages that it installs, and the alert
 * rules in JSON. The charm runs without the program's code, so these are files of its own.
 */

/** Settings that the charm makes from relations, storages and options of its own. */
const ofCharm = [
  'IMAGEBUILDER_AMQP_URL',
  'IMAGEBUILDER_WORK_DIRECTORY',
  'IMAGEBUILDER_CACHE_DIRECTORY',
  'IMAGEBUILDER_STORE_DIRECTORY',
  'IMAGEBUILDER_WORKER_NAME',
  'IMAGEBUILDER_CA_FILE',
];
/** `imagebuilder serve` sets these itself. */
const ofServe = ['IMAGEBUILDER_GATEWAY_URL', 'IMAGEBUILDER_WAKE_SOCKET', 'IMAGEBUILDER_WAKE_ANSWER'];
/** Settings whose value is a secret: an option for them is one of Juju's type for secrets. */
const secretSettings = ['OTEL_EXPORTER_OTLP_HEADERS'];
/** Secrets that relations bring, and those that a clouds.yaml has in it. */
const otherSecrets: readonly string[] = [
  secretFiles.amqpUrl.file,
  secretFiles.amqpCa.file,
  secretFiles.openstackPassword.file,
  secretFiles.openstackApplicationCredentialSecret.file,
];
const architectures = ['amd64', 'arm64'];
const columns = 110;

const nameOf = (variable: string): string =>
  variable
    .replace(/^IMAGEBUILDER_/, '')
    .toLowerCase()
    .replaceAll('_', '-');
const secretName = (file: string): string => file.replace(/^imagebuilder-/, '');

const plainSettings = allSettings.filter(
  ({ variable }) => ![...ofCharm, ...ofServe, ...secretSettings].includes(variable),
);
const secretOptions = Object.values(secretFiles).filter(({ file }) => !otherSecrets.includes(file));

/** The generated options of charmcraft.yaml. */
export function charmOptions(): string {
  const settings = plainSettings.map((setting) => {
    const { type, fallback } = typeOf(setting);
    return option(nameOf(setting.variable), `type: ${type}\n      default: ${fallback}`, setting.meaning);
  });
  const secrets = [
    ...secretOptions.map(({ file, meaning }) => [secretName(file), meaning] as const),
    ...allSettings
      .filter(({ variable }) => secretSettings.includes(variable))
      .map(({ variable, meaning }) => [nameOf(variable), meaning] as const),
  ].map(([name, meaning]) => option(name, 'type: secret', `${meaning} The id of a Juju secret with one key.`));
  return [...settings, ...secrets].join('\n');
}

/** Files below charm/src, by name. */
export async function charmTables(root: string): Promise<Map<string, string>> {
  const variables = (settings: readonly Setting[]) =>
    settings.map(({ variable }) => [nameOf(variable), { variable }] as const);
  const hidden = allSettings.filter(({ variable }) => secretSettings.includes(variable));
  const options = {
    settings: Object.fromEntries(variables(plainSettings)),
    secrets: Object.fromEntries([
      ...secretOptions.map(({ file }) => [secretName(file), { file }] as const),
      ...variables(hidden),
    ]),
  };
  const rules: unknown = parse(await readFile(join(root, 'monitoring/alerts.yml'), 'utf8'));
  return new Map([
    ['options.json', json(options)],
    ['packages.json', json(await packageLists(root))],
    ['alerts.json', json(rules)],
  ]);
}

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

async function packageLists(root: string): Promise<{ tools: Record<string, string>; kernel: Record<string, string> }> {
  const tools: Record<string, string> = {};
  const kernel: Record<string, string> = {};
  for (const architecture of architectures) {
    const { depends, recommends } = await dependenciesOn(root, architecture);
    const isKernel = (one: string) => one.startsWith('linux-image-');
    tools[architecture] = [...depends, ...recommends.filter((one) => !isKernel(one))].join(', ');
    kernel[architecture] = recommends.filter(isKernel).join(', ');
  }
  return { tools, kernel };
}

/** Juju's type for a setting, by the texts that its schema accepts, and its default in YAML. */
function typeOf({ schema, fallback }: Setting): { readonly type: string; readonly fallback: string } {
  const accepts = (text: string) => schema.safeParse(text).success;
  const isText = ['text', '64M', '1,2', '10.0.0.0/8'].some(accepts);
  if (['true', 'false'].includes(fallback) && !isText) return { type: 'boolean', fallback };
  const isNumber = /^[0-9]+$/.test(fallback) && !isText;
  if (!isNumber) return { type: 'string', fallback: JSON.stringify(fallback) };
  return accepts('100000.5') ? { type: 'float', fallback: `${fallback}.0` } : { type: 'int', fallback };
}

function option(name: string, type: string, meaning: string): string {
  return `    ${name}:\n      ${type}\n      description: >-\n${wrap(plain(meaning), '        ')}`;
}

/** Text without links, and with options in place of their variables. */
function plain(text: string): string {
  const names = text.replaceAll(/\[([^[\]]+)\]\([^()]*\)/g, '$1').replaceAll('`', '');
  const known = allSettings.toSorted((one, other) => other.variable.length - one.variable.length);
  return known.reduce(
    (result, { variable }) =>
      ofServe.includes(variable) || ofCharm.includes(variable) ? result : result.replaceAll(variable, nameOf(variable)),
    names,
  );
}

function wrap(text: string, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > columns - indent.length) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  return [...lines, line].map((one) => `${indent}${one}`).join('\n');
}
