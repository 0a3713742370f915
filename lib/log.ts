/** Logging: one JSON object per line on standard error, a static message, keyed fields. */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

const severity = { debug: 10, info: 20, warn: 30, error: 40 } as const satisfies Record<LogLevel, number>;

export type LogFields = Readonly<Record<string, unknown>>;

/** A logger bound to fields such as `build_id`. Values under secret-looking keys are never written. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same logger with more fields on every line. */
  with(fields: LogFields): Log;
}

export interface LogOptions {
  readonly level?: LogLevel;
  readonly fields?: LogFields;
  /** Where a finished line, newline included, goes. Default: standard error. */
  readonly write?: (line: string) => void;
  /** Strings that must never appear in a line; each is replaced by `[secret]`. */
  readonly secrets?: readonly string[];
}

const secretKey = /password|secret|token|authorization|credential|signing/i;

/** Creates a logger. */
export function createLog(options: LogOptions = {}): Log {
  const { level = 'info', fields = {}, write = (line) => process.stderr.write(line), secrets = [] } = options;
  const emit = (lineLevel: LogLevel, message: string, extra: LogFields = {}) => {
    if (severity[lineLevel] < severity[level]) return;
    const entry = { time: new Date().toISOString(), level: lineLevel, message, ...fields, ...extra };
    write(`${redact(JSON.stringify(entry, replacer), secrets)}\n`);
  };
  return {
    debug: (message, extra) => emit('debug', message, extra),
    info: (message, extra) => emit('info', message, extra),
    warn: (message, extra) => emit('warn', message, extra),
    error: (message, extra) => emit('error', message, extra),
    with: (extra) => createLog({ ...options, fields: { ...fields, ...extra } }),
  };
}

/** `text` with every one of `secrets` (those of at least 4 characters) replaced. */
export function redact(text: string, secrets: readonly string[]): string {
  let result = text;
  for (const secret of secrets) if (secret.length >= 4) result = result.replaceAll(secret, '[secret]');
  return result;
}

function replacer(key: string, value: unknown): unknown {
  if (secretKey.test(key) && typeof value === 'string') return '[secret]';
  if (value instanceof Error) {
    return { name: value.name, message: value.message, stack: value.stack, cause: value.cause };
  }
  return value;
}
