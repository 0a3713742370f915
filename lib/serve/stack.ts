import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { parseGoDuration } from '../../template/node24-ts/duration.ts';
import type { BodyLimits } from '../../template/node24-ts/read-body.ts';
import { allSettings } from '../config/load.ts';
import { ImageBuilderError, isNodeError, type RequestFault } from '../errors.ts';
import { type CronSchedule, parseCron } from './cron.ts';
import { substitute } from './substitution.ts';

/** One function of stack.yml, as far as the gateway needs it. */
export interface StackFunction {
  readonly name: string;
  /** Name of its template, a folder under `template/`. */
  readonly language: string;
  /** Absolute path of the handler's folder. */
  readonly handlerDirectory: string;
  /** As in stack.yml, `environment_file` included, overlaid by the environment of the gateway. */
  readonly environment: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Longest time a call may take; undefined: no limit. */
  readonly execTimeoutMs: number | undefined;
  /** Limits for the body of a request. A function that takes no body is only woken by its calls. */
  readonly body: BodyLimits;
  /** Longest time from the request to the end of the answer. */
  readonly writeTimeoutMs: number;
  /** Calls at once; undefined: no limit. */
  readonly maximumInflight: number | undefined;
  /** When the function is called by itself (annotations `topic: cron-function` and `schedule`). */
  readonly schedule: CronSchedule | undefined;
}

export interface Stack {
  /** The folder of stack.yml: paths in it are relative to this. */
  readonly directory: string;
  readonly functions: readonly StackFunction[];
}

/**
 * A mapping of scalars. YAML is read without types (schema `failsafe`), so `true`, `1.10` and `2h` all stay text, and a
 * key without a value is an empty text.
 */
const Texts = z
  .union([z.record(z.string(), z.string()), z.literal('').transform((): Record<string, string> => ({}))])
  .optional();
const List = z.union([z.array(z.string()), z.literal('').transform((): string[] => [])]).optional();

const StackFile = z.object({
  functions: z.record(
    z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, {
      error: 'must be a DNS label: lower-case letters, digits and "-"',
    }),
    z.object({
      lang: z.string({ error: 'is missing' }).regex(/^[a-z0-9][a-z0-9.-]*$/i, { error: 'must name a template' }),
      handler: z.string({ error: 'is missing' }),
      environment: Texts,
      environment_file: List,
      labels: Texts,
      annotations: Texts,
    }),
    { error: 'must hold the functions by name' },
  ),
});

const EnvironmentFile = z.object({ environment: Texts });

/** Timeout of the watchdog for reading and writing where stack.yml names none. */
const defaultTimeoutMs = 30_000;

/**
 * Defaults of the settings, by variable. The `${NAME:-default}` of stack.yml are for a pod, which has little room to
 * write.
 */
const defaultSettings = Object.fromEntries(allSettings.map(({ variable, fallback }) => [variable, fallback]));

/**
 * Reads stack.yml as faas-cli does: substitution over the whole text first, unknown keys ignored, files of
 * `environment_file` over the inline environment. In the substitution, a setting that `environment` lacks has its
 * default of lib/config/. Variables of `environment` win over those of the file. Throws `config.invalid` with every
 * fault at once.
 */
export async function readStack(
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Stack> {
  const directory = dirname(resolve(file));
  const { functions } = check(StackFile, await readYaml(file, { ...defaultSettings, ...environment }), file);
  const faults: RequestFault[] = [];
  const result: StackFunction[] = [];
  for (const [name, definition] of Object.entries(functions)) {
    const values: Record<string, string | undefined> = { ...definition.environment };
    for (const extra of definition.environment_file ?? []) {
      const extraFile = resolve(directory, extra);
      Object.assign(values, check(EnvironmentFile, await readYaml(extraFile, {}, false), extraFile).environment);
    }
    Object.assign(values, environment);
    const path = `$.functions.${name}`;
    const duration = (key: string): number | undefined => {
      const text = values[key];
      if (text === undefined || text === '') return undefined;
      const ms = parseGoDuration(text);
      if (ms === undefined) {
        faults.push({
          path: `${path}.environment.${key}`,
          message: `must be a duration such as 90s or 2h, not "${text}"`,
        });
      }
      return ms === 0 ? undefined : ms;
    };
    const wholeNumber = (key: string, fallback: number): number => {
      const text = values[key] || String(fallback);
      if (/^[0-9]+$/.test(text)) return Number(text);
      faults.push({ path: `${path}.environment.${key}`, message: 'must be a whole number' });
      return fallback;
    };
    const inflight = wholeNumber('max_inflight', 0);
    const annotations: Readonly<Record<string, string>> = definition.annotations ?? {};
    let schedule: CronSchedule | undefined;
    if (annotations.topic === 'cron-function') {
      schedule = parseCron(annotations.schedule ?? '');
      if (schedule === undefined) {
        faults.push({
          path: `${path}.annotations.schedule`,
          message: 'must be a cron schedule of five fields, such as "*/5 * * * *"',
        });
      }
    }
    result.push({
      name,
      language: definition.lang,
      handlerDirectory: resolve(directory, definition.handler),
      environment: Object.fromEntries(
        Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined),
      ),
      labels: definition.labels ?? {},
      annotations,
      execTimeoutMs: duration('exec_timeout'),
      // The first three are the template's own variables, with its defaults.
      body: {
        maximumBytes: wholeNumber('MAX_BODY_BYTES', 1024 * 1024),
        stallMs: wholeNumber('BODY_STALL_SECONDS', 10) * 1000,
        totalMs: Math.min(wholeNumber('BODY_TIMEOUT_SECONDS', 30) * 1000, duration('read_timeout') ?? defaultTimeoutMs),
      },
      writeTimeoutMs: duration('write_timeout') ?? defaultTimeoutMs,
      maximumInflight: inflight === 0 ? undefined : inflight,
      schedule,
    });
  }
  if (result.length === 0) faults.push({ path: '$.functions', message: 'names no function' });
  if (faults.length > 0) throw invalid(file, faults);
  return { directory, functions: result };
}

async function readYaml(
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
  substituting = true,
): Promise<unknown> {
  try {
    const text = await readFile(file, 'utf8');
    const whole = substituting ? substitute(text, inDoubleQuotes(environment)) : text;
    return parse(whole, { schema: 'failsafe', merge: true });
  } catch (error) {
    if (error instanceof YAMLParseError) {
      throw new ImageBuilderError('config.invalid', `${file} is not YAML: ${error.message.split('\n')[0]}`, {
        cause: error,
      });
    }
    if (error instanceof ImageBuilderError) {
      throw new ImageBuilderError(error.code, `${file}, ${error.message}`, { cause: error });
    }
    const reason = isNodeError(error) && error.code === 'ENOENT' ? 'it does not exist' : String(error);
    throw new ImageBuilderError('config.invalid', `${file} cannot be read: ${reason}`, { cause: error });
  }
}

/**
 * The values as they must stand in YAML's double quotes, where stack.yml has most of them. The environment of a function
 * does not depend on that, since the environment itself is laid over what is read here.
 */
function inDoubleQuotes(environment: Readonly<Record<string, string | undefined>>) {
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, value?.replaceAll(/["\\]/g, '\\$&')]),
  );
}

function check<Schema extends z.ZodType>(schema: Schema, value: unknown, file: string): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw invalid(
    file,
    result.error.issues.map((issue) => ({
      path: ['$', ...issue.path].join('.'),
      // The reasons for a wrong key lie one level down.
      message: (issue.code === 'invalid_key' ? issue.issues[0]?.message : undefined) ?? issue.message,
    })),
  );
}

function invalid(file: string, faults: readonly RequestFault[]): ImageBuilderError {
  const detail = faults.map((fault) => `${fault.path} ${fault.message}`).join('; ');
  return new ImageBuilderError('config.invalid', `${file} has faults: ${detail}`, { faults });
}
