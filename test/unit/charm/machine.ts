import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
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

const done: Answer = { exitCode: 0, stdout: '', stderr: '' };
const failed = (exitCode: number, stderr = ''): Answer => ({ exitCode, stdout: '', stderr });

export class Machine {
  readonly root: string;
  hasUser = false;
  enabled = false;
  active = false;
  readonly starts: Start[] = [];
  readonly installed: string[] = [];
  /** The reason with which apt fails; null where it does not. */
  aptFault: string | null = null;
  /** The line that the service writes before it ends at once; null where it runs. */
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
  #server: Server | null = null;
  /** Tokens of the calls for the status. */
  readonly authorizations: (string | undefined)[] = [];

  constructor(root: string) {
    this.root = root;
  }

  async answer(call: Call): Promise<Answer> {
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
        return { ...done, stdout: `Started.\nimagebuilder: ${this.startFault ?? ''}\nEnded.\n` };
      case 'runuser':
        return this.command(call);
      default:
        return await this.#systemctl(call.words);
    }
  }

  async #systemctl(words: readonly string[]): Promise<Answer> {
    switch (words[0]) {
      case 'is-active':
        return this.active ? done : failed(3);
      case 'enable':
        this.enabled = true;
        return done;
      case 'disable':
        this.enabled = false;
        await this.stop();
        return done;
      case 'restart':
        if (this.systemdFails) return failed(1, 'Failed to connect to bus\n');
        await this.stop();
        await this.#start();
        return done;
      default:
        return done;
    }
  }

  async #start(): Promise<void> {
    const folder = join(this.root, 'etc/imagebuilder');
    const environment = readEnvironment(readFileSync(join(folder, 'environment'), 'utf8'));
    const names = readdirSync(join(folder, 'secrets'));
    const secrets = Object.fromEntries(
      names.map((name) => [name, readFileSync(join(folder, 'secrets', name), 'utf8')]),
    );
    this.starts.push({ environment, secrets });
    if (this.startFault !== null) return;
    this.active = true;
    const { port } = new URL(`http://${environment.IMAGEBUILDER_LISTEN}`);
    this.#server = createServer((request, response) => {
      const isHealth = request.url === '/healthz';
      if (!isHealth) this.authorizations.push(request.headers.authorization);
      response.statusCode = isHealth ? this.health.status : 200;
      response.end(JSON.stringify(isHealth ? this.health.body : this.report));
    });
    const listen = () => void this.#server?.listen(Number(port), '127.0.0.1');
    if (this.listensAfterMs === 0) listen();
    else setTimeout(listen, this.listensAfterMs);
  }

  /** Ends the service. */
  async stop(): Promise<void> {
    this.active = false;
    const server = this.#server;
    this.#server = null;
    server?.closeAllConnections();
    if (server !== null) await new Promise((resolve) => server.close(resolve));
  }
}
