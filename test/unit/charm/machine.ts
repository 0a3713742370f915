import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { readEnvironment } from '../../../charm/src/environment-file.ts';
import type { Answer, Call } from './tool-client.ts';

/** The machine of a unit, without what needs root: systemd, apt and the table of users. */

export const machineTools = ['apt-get', 'id', 'journalctl', 'runuser', 'systemctl', 'systemd-sysusers', 'userdel'];

/** A start of the service, with all that it reads. */
export interface Start {
  readonly environment: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
}

/** A service that was started. */
export interface Service {
  isActive(): boolean;
  /** Ends it, and resolves when it has. */
  stop(): Promise<void>;
}

/** Starts the service; null where it ends at once. What it writes is handed to `say`, line by line. */
export type Launch = (start: Start, say: (line: string) => void) => Service | null;

const done: Answer = { exitCode: 0, stdout: '', stderr: '' };
const failed = (exitCode: number, stderr = ''): Answer => ({ exitCode, stdout: '', stderr });

export class Machine {
  readonly root: string;
  hasUser = false;
  enabled = false;
  readonly starts: Start[] = [];
  readonly installed: string[] = [];
  /** The reason with which apt fails; null where it does not. */
  aptFault: string | null = null;
  /** The line that the service writes before it ends at once, empty for none; null where it runs. */
  startFault: string | null = null;
  /** Whether systemctl dies as it starts the service. */
  systemdFails = false;
  /** The service's health check: status and body. */
  health: { status: number; body: unknown } = { status: 200, body: { ready: true } };
  /** The service's own status. */
  report: unknown = { status: 'ok', broker: { reachable: true }, workers: [] };
  /** Milliseconds until the service listens. */
  listensAfterMs = 0;
  /** Answers of the command `imagebuilder`. */
  command: (call: Call) => Answer = () => done;
  readonly #launch: Launch;
  #service: Service | null = null;
  #ended: Promise<void> = Promise.resolve();
  /** Lines of each start. */
  readonly #journals: string[][] = [];
  /** Tokens of the calls for the status. */
  readonly authorizations: (string | undefined)[] = [];

  constructor(root: string, launch?: Launch) {
    this.root = root;
    this.#launch = launch ?? ((start, say) => this.#pretend(start, say));
  }

  get active(): boolean {
    return this.#service?.isActive() ?? false;
  }

  answer(call: Call): Answer {
    switch (call.tool) {
      case 'id':
        return this.hasUser
          ? { ...done, stdout: `${call.words[0] === '-u' ? process.getuid?.() : process.getgid?.()}\n` }
          : failed(1);
      case 'systemd-sysusers':
        this.hasUser = true;
        return done;
      case 'userdel':
        this.hasUser = false;
        return done;
      case 'apt-get':
        if (this.aptFault !== null) return failed(100, `${this.aptFault}\n`);
        if (call.words.includes('satisfy')) this.installed.push(call.words.at(-1) ?? '');
        return done;
      case 'journalctl':
        return { ...done, stdout: this.#journal(call.words) };
      case 'runuser':
        return this.command(call);
      default:
        return this.#systemctl(call.words);
    }
  }

  #systemctl(words: readonly string[]): Answer {
    switch (words[0]) {
      case 'is-active':
        return this.active ? done : failed(3);
      case 'show':
        return { ...done, stdout: `${this.starts.length}\n` };
      case 'enable':
        this.enabled = true;
        return done;
      case 'disable':
        this.enabled = false;
        void this.stop();
        return done;
      case 'restart':
        if (this.systemdFails) return failed(1, 'Failed to connect to bus\n');
        void this.stop();
        this.#start();
        return done;
      default:
        return done;
    }
  }

  #start(): void {
    const folder = join(this.root, 'etc/imagebuilder');
    const environment = readEnvironment(readFileSync(join(folder, 'environment'), 'utf8'));
    const names = readdirSync(join(folder, 'secrets'));
    const secrets = Object.fromEntries(
      names.map((name) => [name, readFileSync(join(folder, 'secrets', name), 'utf8')]),
    );
    const start = { environment, secrets };
    const journal: string[] = [];
    this.#journals.push(journal);
    this.starts.push(start);
    this.#service = this.#launch(start, (line) => journal.push(line));
  }

  /** A service that says what the test wants it to say. */
  #pretend({ environment }: Start, say: (line: string) => void): Service | null {
    if (this.startFault !== null) {
      if (this.startFault !== '') say(`imagebuilder: ${this.startFault}`);
      return null;
    }
    const { port } = new URL(`http://${environment.IMAGEBUILDER_LISTEN}`);
    const server = createServer((request, response) => {
      const isHealth = request.url === '/healthz';
      if (!isHealth) this.authorizations.push(request.headers.authorization);
      response.statusCode = isHealth ? this.health.status : 200;
      response.setHeader('connection', 'close');
      response.end(JSON.stringify(isHealth ? this.health.body : this.report));
    });
    const listen = () => void server.listen(Number(port), '127.0.0.1');
    const timer = this.listensAfterMs === 0 ? void listen() : setTimeout(listen, this.listensAfterMs);
    return {
      isActive: () => true,
      stop: async () => {
        clearTimeout(timer);
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }

  /** The lines of one start of the service, whose id is its number. */
  #journal(words: readonly string[]): string {
    const number = Number(words[0]?.replace('_SYSTEMD_INVOCATION_ID=', ''));
    return ['Started.', ...(this.#journals[number - 1] ?? []), 'Ended.', ''].join('\n');
  }

  /** Ends the service, and resolves when it has ended. */
  async stop(): Promise<void> {
    const service = this.#service;
    this.#service = null;
    if (service !== null) this.#ended = service.stop();
    await this.#ended;
  }
}
