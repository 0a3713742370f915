import { upTo } from '../text.ts';

/**
 * Reads the part of GRUB's configuration that names kernels: a language of its own, of which everything that is not
 * understood here is passed over (GRUB's manual, "Writing full configuration files directly").
 */

/** The partition that a path of GRUB begins with, as far as the text says. */
export type GrubDevice =
  | { readonly kind: 'uuid' | 'label'; readonly value: string }
  | { readonly kind: 'partition'; readonly number: number };

/** A path; `device` is null where it depends on more than the text. */
export interface GrubPath {
  readonly device: GrubDevice | null;
  readonly path: string;
}

export interface MenuEntry {
  /** Such as `0`, or `1>2` in a submenu. */
  readonly index: string;
  readonly title: string;
  readonly id: string | null;
  readonly kernel: GrubPath;
  readonly initrds: readonly GrubPath[];
  /** The kernel's command line. */
  readonly arguments: readonly string[];
}

export interface GrubConfig {
  /** The entries that start a Linux kernel, in their order. */
  readonly entries: readonly MenuEntry[];
  /** Index, title or id of the entry that starts by itself; null where the text does not say. */
  readonly default: string | null;
  /** True where update-grub has written it, from the kernels that it found. */
  readonly generated: boolean;
  /** True where entries come from files of the Boot Loader Specification. */
  readonly usesLoaderEntries: boolean;
  /** The further file that it goes on with, such as that of /boot; null where there is none. */
  readonly continues: GrubPath | null;
}

/** A menu has two entries for each kernel; more lines than this are not read. */
const maximumLines = 100_000;

interface Block {
  readonly kind: 'entry' | 'submenu' | 'other';
  readonly index: string;
  readonly title: string;
  readonly id: string | null;
  entries: number;
  kernel: GrubPath | null;
  arguments: readonly string[];
  initrds: GrubPath[];
}

export function parseGrubConfig(text: string): GrubConfig {
  const devices = new Map<string, GrubDevice | null>();
  const paths = new Map<string, GrubPath>();
  const entries: MenuEntry[] = [];
  const top = block('other', '', '', null);
  const open: Block[] = [top];
  let chosen: string | null = null;
  let usesLoaderEntries = false;
  let continues: GrubPath | null = null;

  const pathOf = (word: string): GrubPath => {
    const full = expand(word, paths);
    if (typeof full !== 'string') return full;
    const closing = full.startsWith('(') ? full.indexOf(')') : -1;
    if (closing < 0) return { device: devices.get('root') ?? null, path: full };
    const name = full.slice(1, closing);
    const variable = variableOf(name);
    return {
      device: variable === null ? deviceOf(name) : (devices.get(variable) ?? null),
      path: full.slice(closing + 1),
    };
  };
  const finish = (ended: Block) => {
    if (ended.kind !== 'entry' || ended.kernel === null) return;
    const { index, title, id, kernel, initrds, arguments: words } = ended;
    entries.push({ index, title, id, kernel, initrds, arguments: words });
  };

  const begin = ([command = '', ...rest]: readonly string[]) => {
    if (command !== 'menuentry' && command !== 'submenu') {
      open.push(block('other', '', '', null));
      return;
    }
    const menu = open.findLast(({ kind }) => kind === 'submenu') ?? top;
    const index = menu === top ? String(menu.entries) : `${menu.index}>${menu.entries}`;
    menu.entries += 1;
    const idAt = rest.findIndex((word) => word === '--id' || word === '$menuentry_id_option');
    const id = idAt < 0 ? null : (rest[idAt + 1] ?? null);
    open.push(block(command === 'submenu' ? 'submenu' : 'entry', index, rest[0] ?? '', id));
  };
  const run = ([command = '', ...rest]: readonly string[]) => {
    const inner = open.at(-1) ?? top;
    switch (command) {
      case 'search':
      case 'search.fs_uuid':
      case 'search.fs_label':
        readSearch(command, rest, devices);
        break;
      case 'set': {
        const [name = '', value = ''] = splitOnce(rest.join(' '), '=');
        if (name === 'default' && !value.includes('$')) chosen = value === '' ? chosen : value;
        if (name === 'root') devices.set('root', deviceOf(value));
        if (name === 'prefix') paths.set('prefix', pathOf(value));
        break;
      }
      case 'blscfg':
        usesLoaderEntries = true;
        break;
      case 'configfile':
      case 'normal':
        if (rest[0] !== undefined && open.length === 1) continues = pathOf(rest[0]);
        break;
      case 'linux':
      case 'linuxefi':
      case 'linux16':
        if (inner.kind !== 'other' && rest[0] !== undefined) {
          inner.kernel = pathOf(rest[0]);
          inner.arguments = rest.slice(1);
        }
        break;
      case 'initrd':
      case 'initrdefi':
      case 'initrd16':
        inner.initrds = [...inner.initrds, ...rest.filter((word) => !word.startsWith('--')).map(pathOf)].slice(-20);
        break;
    }
  };
  for (const line of text.split('\n', maximumLines)) {
    let statement: string[] = [];
    for (const word of [...wordsOf(line), ';']) {
      if (word.startsWith('#')) break;
      if (word === '{') begin(statement);
      else if (word === ';' || word === '}') run(statement);
      else {
        statement.push(word);
        continue;
      }
      statement = [];
      if (word === '}' && open.length > 1) finish(open.pop() ?? top);
    }
    run(statement);
  }
  for (const left of open.reverse()) finish(left);
  const generated = text.includes('### BEGIN /etc/grub.d/10_linux ###');
  return { entries, default: chosen, generated, usesLoaderEntries, continues };
}

/** The entry that starts by itself: the first one where the text does not say; null in an empty menu. */
export function defaultEntry({ entries, default: chosen }: GrubConfig): MenuEntry | null {
  const last = chosen?.split('>').at(-1);
  const fits = ({ index, title, id }: MenuEntry) =>
    index === chosen ||
    id === chosen ||
    title === chosen ||
    (last !== undefined && !/^\d/.test(last) && (id === last || title === last));
  return entries.find(fits) ?? entries.find(({ index }) => index.startsWith(`${chosen}>`)) ?? entries[0] ?? null;
}

function block(kind: Block['kind'], index: string, title: string, id: string | null): Block {
  return { kind, index, title, id, entries: 0, kernel: null, arguments: [], initrds: [] };
}

/** `search --fs-uuid --set=root UUID`, and the same as `search.fs_uuid UUID root`. */
function readSearch(command: string, words: readonly string[], devices: Map<string, GrubDevice | null>): void {
  if (command !== 'search') {
    const [value = '', name = 'root'] = words;
    devices.set(name, { kind: command === 'search.fs_uuid' ? 'uuid' : 'label', value });
    return;
  }
  const has = (...flags: string[]) => words.some((word) => flags.includes(word));
  const set = words.find((word) => word.startsWith('--set='))?.slice('--set='.length);
  const value = words.filter((word) => !word.startsWith('-')).at(-1) ?? '';
  if (set === undefined && !has('--set', '-s')) return;
  const kind = has('--fs-uuid', '-u') ? 'uuid' : has('--label', '-l', '--fs-label') ? 'label' : null;
  devices.set(set ?? 'root', kind === null || value.includes('$') ? null : { kind, value });
}

/** `hd0,gpt16`, `,gpt16`; null for all others. */
function deviceOf(name: string): GrubDevice | null {
  const match = /^(?:hd0)?,(?:gpt|msdos)?(\d{1,3})$/.exec(name);
  return match === null ? null : { kind: 'partition', number: Number(match[1]) };
}

/** The device and folder of a prefix such as `(,gpt16)/grub`. */
export function parsePrefix(prefix: string): GrubPath {
  const closing = prefix.startsWith('(') ? prefix.indexOf(')') : -1;
  return { device: closing < 0 ? null : deviceOf(prefix.slice(1, closing)), path: prefix.slice(closing + 1) };
}

function expand(word: string, paths: ReadonlyMap<string, GrubPath>): string | GrubPath {
  for (const [name, { device, path }] of paths) {
    for (const written of [`$${name}`, `\${${name}}`]) {
      if (word.startsWith(`${written}/`)) return { device, path: path + word.slice(written.length) };
    }
  }
  return word;
}

function variableOf(text: string): string | null {
  if (text.startsWith('${') && text.endsWith('}')) return text.slice(2, -1);
  return text.startsWith('$') ? text.slice(1) : null;
}

function splitOnce(text: string, mark: string): [string, string] {
  const before = upTo(text, mark);
  return [before, text.slice(before.length + 1)];
}

/** The words of a line, without quotes; a semicolon is one of its own. */
function wordsOf(line: string): string[] {
  const words: string[] = [];
  let word: string | null = null;
  let quote = '';
  for (const character of line) {
    if (quote !== '') {
      if (character === quote) quote = '';
      else word = (word ?? '') + character;
    } else if (character === "'" || character === '"') {
      quote = character;
      word ??= '';
    } else if (character === ' ' || character === '\t' || character === '\r' || character === ';') {
      if (word !== null) words.push(word);
      if (character === ';') words.push(';');
      word = null;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (word !== null) words.push(word);
  return words;
}
