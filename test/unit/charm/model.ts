import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { Answer, Call } from './tool-client.ts';

/** The part of a Juju controller that hook tools talk to, with Juju's transactions. */

export type Data = Record<string, string>;

export interface ModelRelation {
  /** Data of the remote units. */
  readonly units: Map<string, Data>;
  /** Data that our unit has set. */
  local: Data;
}

export interface OwnSecret {
  readonly label: string;
  content: Data;
  revision: number;
  readonly grants: Set<string>;
}

const repository = join(import.meta.dirname, '../../..');
const { config } = parse(readFileSync(join(repository, 'charm/charmcraft.yaml'), 'utf8')) as {
  config: { options: Record<string, { type: string; default?: string | number | boolean }> };
};

export const hookTools = [
  'action-fail',
  'action-get',
  'action-log',
  'action-set',
  'application-version-set',
  'close-port',
  'config-get',
  'juju-log',
  'network-get',
  'open-port',
  'opened-ports',
  'relation-get',
  'relation-ids',
  'relation-list',
  'relation-set',
  'secret-add',
  'secret-get',
  'secret-grant',
  'secret-info-get',
  'secret-remove',
  'secret-set',
  'status-set',
  'storage-list',
];

/** Keys of results that Juju takes (its action-set). */
const resultKey = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;
const statuses = ['active', 'blocked', 'maintenance', 'waiting'];

class Refusal extends Error {}

export class Model {
  readonly unit = 'imagebuilder/0';
  /** Options that the operator has set. */
  readonly options: Record<string, string | number | boolean> = {};
  readonly relations = new Map<string, ModelRelation>();
  /** Secrets of the operator. */
  readonly secrets = new Map<string, { content: Data; granted: boolean }>();
  /** Secrets of our unit. */
  readonly ownSecrets = new Map<string, OwnSecret>();
  readonly storages = new Set<string>();
  readonly ports = new Set<string>();
  address = '10.0.0.5';
  status = { name: 'unknown', message: '' };
  version = '';
  parameters: Record<string, unknown> = {};
  results: Data = {};
  failure: string | null = null;
  readonly log: string[] = [];
  /** Tools that fail, as where the controller is out of reach. */
  readonly failing = new Set<string>();
  #pending: (() => void)[] = [];
  /** Secrets that this hook has added. */
  readonly #added = new Map<string, OwnSecret>();
  #number = 0;

  /** Ends a hook: what it has set counts only if it has ended well. */
  end(exitCode: number | null): void {
    if (exitCode === 0) for (const apply of this.#pending) apply();
    this.#pending = [];
    this.#added.clear();
  }

  /** All texts that may stand in no argument and no log. */
  secretTexts(): string[] {
    const remote = [...this.relations.values()].flatMap(({ units }) => [...units.values()]);
    const passwords = remote.flatMap((data) => [data.password, data.credentials_password]);
    const contents = [...this.secrets.values(), ...this.ownSecrets.values()].flatMap(({ content }) =>
      Object.values(content),
    );
    return [...passwords, ...contents].filter((text) => text !== undefined && text !== '') as string[];
  }

  answer(call: Call): Answer {
    try {
      if (this.failing.has(call.tool)) throw new Refusal('connection is shut down');
      const stdout = this.#handle(call.tool, [...call.words], call);
      return { exitCode: 0, stdout, stderr: '' };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { exitCode: 1, stdout: '', stderr: `ERROR ${error.message}\n` };
    }
  }

  #handle(tool: string, words: string[], call: Call): string {
    const isJson = takeFlag(words, '--format=json');
    const say = (value: unknown): string => {
      if (!isJson) throw new Refusal(`${tool} is to be asked for JSON`);
      return `${JSON.stringify(value)}\n`;
    };
    switch (tool) {
      case 'config-get':
        return say(this.#config());
      case 'network-get':
        return say({ 'bind-addresses': [], 'egress-subnets': [], 'ingress-addresses': [this.address] });
      case 'storage-list':
        return say([...this.storages].filter((id) => id.startsWith(`${words[0]}/`)));
      case 'opened-ports':
        return say([...this.ports]);
      case 'open-port':
        this.#pending.push(() => this.ports.add(portOf(words)));
        return '';
      case 'close-port':
        this.#pending.push(() => this.ports.delete(portOf(words)));
        return '';
      case 'relation-ids':
        return say([...this.relations.keys()].filter((id) => id.startsWith(`${words[0]}:`)));
      case 'relation-list':
        return say([...this.#relation(words).units.keys()]);
      case 'relation-get':
        return say(this.#relationData(words));
      case 'relation-set':
        return this.#setRelation(words, call.input);
      case 'application-version-set':
        this.version = words.at(-1) ?? '';
        return '';
      case 'status-set':
        return this.#setStatus(words);
      case 'juju-log':
      case 'action-log':
        this.log.push(words.at(-1) ?? '');
        return '';
      case 'action-get':
        return say(this.parameters);
      case 'action-fail':
        this.failure = words.at(-1) ?? '';
        return '';
      case 'action-set':
        return this.#setResults(words);
      default:
        return this.#secret(tool, words, say);
    }
  }

  #config(): unknown {
    const defaults = Object.entries(config.options)
      .filter((entry) => entry[1].default !== undefined)
      .map(([name, one]) => [name, one.default] as const);
    for (const name of Object.keys(this.options)) {
      if (config.options[name] === undefined) throw new Error(`charmcraft.yaml has no option ${name}`);
    }
    return { ...Object.fromEntries(defaults), ...this.options };
  }

  #relation(words: string[]): ModelRelation {
    const id = takeValue(words, '-r');
    const relation = id === undefined ? undefined : this.relations.get(id);
    if (relation === undefined) throw new Refusal(`relation ${id} not found`);
    return relation;
  }

  #relationData(words: string[]): Data {
    const relation = this.#relation(words);
    const [key, unit = ''] = words;
    if (key !== '-') throw new Refusal(`the test knows no key ${key}`);
    if (unit === this.unit) return relation.local;
    const data = relation.units.get(unit);
    if (data === undefined) throw new Refusal(`cannot read settings for unit ${unit}: permission denied`);
    return data;
  }

  #setRelation(words: string[], input: string): string {
    const relation = this.#relation(words);
    if (takeValue(words, '--file') !== '-') throw new Refusal('data belongs on standard input');
    const data = JSON.parse(input) as Record<string, unknown>;
    for (const [key, value] of Object.entries(data)) {
      if (typeof value !== 'string') throw new Refusal(`the value of ${key} is no text`);
    }
    this.#pending.push(() => {
      const all = { ...relation.local, ...(data as Data) };
      relation.local = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ''));
    });
    return '';
  }

  #setStatus(words: string[]): string {
    const [application, name = '', dashes, ...message] = words;
    if (application !== '--application=False' || dashes !== '--') throw new Refusal(`status-set ${words.join(' ')}`);
    if (!statuses.includes(name)) throw new Refusal(`invalid status ${name}`);
    this.status = { name, message: message.join(' ') };
    return '';
  }

  #setResults(words: string[]): string {
    for (const word of words) {
      const key = word.slice(0, word.indexOf('='));
      if (!resultKey.test(key) || ['stdout', 'stderr'].includes(key)) throw new Refusal(`illegal key ${key}`);
      this.results[key] = word.slice(key.length + 1);
    }
    return '';
  }

  #secret(tool: string, words: string[], say: (value: unknown) => string): string {
    if (tool === 'secret-add') return this.#addSecret(words);
    const label = takeValue(words, '--label');
    const id = words.find((word) => word.startsWith('secret:')) ?? this.#idOf(label);
    const own = this.ownSecrets.get(id ?? '') ?? this.#added.get(id ?? '');
    if (tool === 'secret-get') {
      const content = own?.content ?? this.#granted(id ?? '');
      return say(content);
    }
    if (id === undefined || own === undefined) throw new Refusal(`secret ${id ?? label} not found`);
    switch (tool) {
      case 'secret-info-get':
        return say({ [id.slice('secret:'.length)]: { revision: own.revision, label: own.label, owner: 'unit' } });
      case 'secret-set': {
        const content = contentOf(words.slice(1));
        this.#pending.push(() => {
          own.content = content;
          own.revision += 1;
        });
        return '';
      }
      case 'secret-grant': {
        const relation = takeValue(words, '--relation') ?? '';
        if (!this.relations.has(relation)) throw new Refusal(`relation ${relation} not found`);
        this.#pending.push(() => own.grants.add(relation));
        return '';
      }
      case 'secret-remove':
        this.#pending.push(() => this.ownSecrets.delete(id));
        return '';
      default:
        throw new Error(`the test knows no tool ${tool}`);
    }
  }

  #idOf(label: string | undefined): string | undefined {
    return [...this.ownSecrets].find(([, secret]) => secret.label === label)?.[0];
  }

  #granted(id: string): Data {
    const secret = this.secrets.get(id);
    if (secret === undefined) throw new Refusal(`secret "${id}" not found`);
    if (!secret.granted) throw new Refusal('permission denied');
    return secret.content;
  }

  #addSecret(words: string[]): string {
    if (takeValue(words, '--owner') !== 'unit') throw new Refusal('only a leader has secrets of the application');
    const label = takeValue(words, '--label') ?? '';
    this.#number += 1;
    const id = `secret:own${this.#number}`;
    const secret: OwnSecret = { label, content: contentOf(words), revision: 1, grants: new Set() };
    // The rest of the hook may name it; it stays only if the hook ends well.
    this.#added.set(id, secret);
    this.#pending.push(() => this.ownSecrets.set(id, secret));
    return `${id}\n`;
  }
}

const portOf = (words: readonly string[]): string => words.at(-1) ?? '';

function contentOf(words: readonly string[]): Data {
  return Object.fromEntries(
    words.map((word) => {
      const [key = '', path = ''] = word.split('#file=');
      if (path === '') throw new Refusal(`a secret is an argument: ${key}`);
      return [key, readFileSync(path, 'utf8')];
    }),
  );
}

function takeFlag(words: string[], flag: string): boolean {
  const at = words.indexOf(flag);
  if (at >= 0) words.splice(at, 1);
  return at >= 0;
}

function takeValue(words: string[], flag: string): string | undefined {
  const at = words.indexOf(flag);
  return at < 0 ? undefined : words.splice(at, 2)[1];
}
