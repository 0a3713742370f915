import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { lastLines } from '#lib/exec.ts';
import { freePorts } from './ports.ts';
import { type ProcessGroup, signalGroup, spawnGroup } from './process-group.ts';

/**
 * A private RabbitMQ from Debian's package rabbitmq-server: on loopback, with its own ports, folders, cookie and epmd,
 * so that several can run at once beside the machine's own. It ends with the process that started it.
 */
export interface RabbitMq extends AsyncDisposable {
  /** `amqp://127.0.0.1:PORT`, user guest. */
  readonly url: string;
  readonly port: number;
  /** Environment in which rabbitmqctl reaches this broker. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs rabbitmqctl and resolves with its standard output; about half a second each. */
  control(args: readonly string[]): Promise<string>;
  /** Stops the broker and keeps its data; `start` brings it back. `kill` is a power cut: no clean shutdown. */
  stop(options?: { readonly kill?: boolean }): Promise<void>;
  start(): Promise<void>;
  restart(options?: { readonly kill?: boolean }): Promise<void>;
  /** Closes every client's connection from the broker's side; clients may come back at once. */
  closeAllConnections(): Promise<void>;
  /** Time after which a message that was delivered and not acknowledged closes its channel. Holds until a restart. */
  setConsumerTimeout(milliseconds: number): Promise<void>;
}

export interface RabbitMqOptions {
  /** Folder of its data and logs, kept afterwards. Default: a temporary folder, removed afterwards. */
  readonly directory?: string;
  /** More lines of rabbitmq.conf, and plugins to enable. */
  readonly configuration?: readonly string[];
  readonly plugins?: readonly string[];
  /** Called with a line about each step. */
  readonly onProgress?: (line: string) => void;
}

const programs = '/usr/lib/rabbitmq/bin';
const epmdProgram = '/usr/bin/epmd';
const startTimeoutMs = 120_000;
const startAttempts = 3;

/** Starts a broker and resolves when it takes connections: 6 seconds on two idle cores. */
export async function startRabbitMq(options: RabbitMqOptions = {}): Promise<RabbitMq> {
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'imagebuilder-rabbitmq-')));
  const removeDirectory = async () => {
    if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
  };
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(directory, removeDirectory, options);
    } catch (error) {
      // Another process may have taken a port between the look and the start.
      if (attempt < startAttempts && error instanceof Error && /eaddrinuse|already in use/i.test(error.message))
        continue;
      await removeDirectory();
      throw error;
    }
  }
}

async function startOnce(
  directory: string,
  removeDirectory: () => Promise<void>,
  options: RabbitMqOptions,
): Promise<RabbitMq> {
  const { onProgress = () => {} } = options;
  const [port = 0, distributionPort = 0, epmdPort = 0] = await freePorts(3);
  const env = await prepare(directory, { port, distributionPort, epmdPort }, options);
  // In the foreground as a child of ours; otherwise the broker starts a daemon that outlives it.
  const epmd = spawnGroup([epmdProgram, '-port', String(epmdPort), '-address', '127.0.0.1'], env);
  let broker: ProcessGroup | undefined;

  const start = async () => {
    broker = spawnGroup([join(programs, 'rabbitmq-server')], env);
    await ready(broker);
  };
  const stop = async ({ kill = false } = {}) => {
    if (broker === undefined) return;
    await end(broker, kill ? 'SIGKILL' : 'SIGTERM');
    broker = undefined;
  };
  const control = async (args: readonly string[]) => {
    const { stdout } = await execa(join(programs, 'rabbitmqctl'), [...args], {
      env,
      extendEnv: false,
      stdin: 'ignore',
    });
    return stdout;
  };
  const dispose = async () => {
    await stop();
    await end(epmd, 'SIGKILL');
    await removeDirectory();
  };

  try {
    onProgress(`starting a private RabbitMQ on 127.0.0.1:${port}`);
    await start();
  } catch (error) {
    await end(epmd, 'SIGKILL');
    throw error;
  }
  onProgress(`RabbitMQ is ready on 127.0.0.1:${port}`);
  return {
    url: `amqp://127.0.0.1:${port}`,
    port,
    env,
    control,
    start,
    stop,
    async restart(how) {
      await stop(how);
      await start();
    },
    async closeAllConnections() {
      await control(['close_all_connections', 'closed by a test']);
    },
    async setConsumerTimeout(milliseconds) {
      await control([
        'eval',
        `application:set_env(rabbit,consumer_timeout,${milliseconds}), application:set_env(rabbit,channel_tick_interval,1000).`,
      ]);
    },
    [Symbol.asyncDispose]: dispose,
  };
}

interface Ports {
  readonly port: number;
  readonly distributionPort: number;
  readonly epmdPort: number;
}

/** Writes the configuration and gives the environment. The scripts are called past Debian's wrapper, which insists on the user rabbitmq and /var/lib. */
async function prepare(
  directory: string,
  ports: Ports,
  { configuration = [], plugins = [] }: RabbitMqOptions,
): Promise<Record<string, string>> {
  const at = (name: string) => join(directory, name);
  for (const name of ['home', 'data', 'log', 'schema', 'generated']) await mkdir(at(name), { recursive: true });
  await writeFile(at('environment.conf'), '');
  await writeFile(at('enabled_plugins'), `[${plugins.join(',')}].\n`);
  await writeFile(
    at('rabbitmq.conf'),
    [
      `listeners.tcp.1 = 127.0.0.1:${ports.port}`,
      'log.console = true',
      'log.console.level = info',
      'log.file = false',
      'disk_free_limit.absolute = 50MB',
      'vm_memory_high_watermark.absolute = 512MB',
      ...configuration,
      '',
    ].join('\n'),
  );
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: 'C.UTF-8',
    LC_ALL: 'C.UTF-8',
    HOME: at('home'),
    RABBITMQ_CONF_ENV_FILE: at('environment.conf'),
    // Equal after every restart in this folder: the data belongs to the node of this name.
    RABBITMQ_NODENAME: 'imagebuilder@localhost',
    RABBITMQ_MNESIA_BASE: at('data'),
    RABBITMQ_LOG_BASE: at('log'),
    RABBITMQ_CONFIG_FILE: at('rabbitmq'),
    RABBITMQ_ADVANCED_CONFIG_FILE: at('advanced'),
    RABBITMQ_ENABLED_PLUGINS_FILE: at('enabled_plugins'),
    RABBITMQ_GENERATED_CONFIG_DIR: at('generated'),
    RABBITMQ_SCHEMA_DIR: at('schema'),
    RABBITMQ_PID_FILE: at('pid'),
    RABBITMQ_FEATURE_FLAGS_FILE: at('feature_flags'),
    RABBITMQ_DIST_PORT: String(ports.distributionPort),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1} +S 2:2',
    ERL_EPMD_PORT: String(ports.epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
  };
}

/** Resolves when the broker takes connections; ends it and throws with its last lines when it does not become ready. */
async function ready(broker: ProcessGroup): Promise<void> {
  let output = '';
  const complete = await new Promise<boolean>((resolve) => {
    broker.all?.setEncoding('utf8');
    broker.all?.on('data', (text: string) => {
      output = (output + text).slice(-20_000);
      if (output.includes('Server startup complete')) resolve(true);
    });
    void broker.then(() => resolve(false));
    setTimeout(() => resolve(false), startTimeoutMs).unref();
  });
  if (complete) return;
  await end(broker, 'SIGKILL');
  throw new Error(`RabbitMQ did not start:\n${lastLines(output, 30).join('\n')}`);
}

async function end(process_: ProcessGroup, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  // SIGTERM goes only to the script, which stops the broker in order.
  if (signal === 'SIGTERM') process_.kill('SIGTERM');
  else signalGroup(process_, 'SIGKILL');
  const timer = setTimeout(() => signalGroup(process_, 'SIGKILL'), 30_000);
  await process_;
  clearTimeout(timer);
  signalGroup(process_, 'SIGKILL');
}
