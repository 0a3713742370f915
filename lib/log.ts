/** Logging: one JSON object per line on standard error, a static message, keyed fields. */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

const severity = {
  debug: 10,
  info: 20,
  warn: 30,
  error: 40,
  audit: Number.POSITIVE_INFINITY,
} as const satisfies Record<LogLevel | 'audit', number>;

export type LogFields = Readonly<Record<string, unknown>>;

/** A logger bound to fields such as `build_id`. Values under secret-looking keys are never written. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** Records a caller's act: written whatever the least severity is. */
  audit(message: string, fields?: LogFields): void;
  /** The same logger with more fields on every line. */
  with(fields: LogFields): Log;
}

export interface LogOptions {
  readonly level?: LogLevel;
  readonly fields?: LogFields;
  /** Receives each finished line, newline included. Default: standard error. */
  readonly write?: (line: string) => void;
  /** Strings that must never appear in a line; each is replaced by `[secret]`. */
  readonly secrets?: readonly string[];
}

const secretKey = /password|secret|token|authorization|credential|signing/i;

/** Creates a logger. */
export function createLog(options: LogOptions = {}): Log {
  const { level = 'info', fields = {}, write = (line) => process.stderr.write(line), secrets = [] } = options;
  const emit = (lineLevel: LogLevel | 'audit', message: string, extra: LogFields = {}) => {
    if (severity[lineLevel] < severity[level]) return;
    const entry = { time: new Date().toISOString(), level: lineLevel, message, ...fields, ...extra };
    write(`${redact(toJson(entry), secrets)}\n`);
  };
  return {
    debug: (message, extra) => emit('debug', message, extra),
    info: (message, extra) => emit('info', message, extra),
    warn: (message, extra) => emit('warn', message, extra),
    error: (message, extra) => emit('error', message, extra),
    audit: (message, extra) => emit('audit', message, extra),
    with: (extra) => createLog({ ...options, fields: { ...fields, ...extra } }),
  };
}

/** `json` with every one of `secrets` (those of at least 4 characters) replaced, as JSON writes it. */
function redact(json: string, secrets: readonly string[]): string {
  let result = json;
  for (const secret of secrets) {
    if (secret.length >= 4) result = result.replaceAll(JSON.stringify(secret).slice(1, -1), '[secret]');
  }
  return result;
}

/** Logging a failure must not fail itself: circular objects and bigints, too, may be the cause of an error. */
function toJson(entry: LogFields): string {
  const seen = new Set<unknown>();
  return JSON.stringify(entry, (key, value: unknown) => {
    if (typeof value === 'bigint') return String(value);
    if (typeof value !== 'object' || value === null) return replacer(key, value);
    if (seen.has(value)) return '[again]';
    seen.add(value);
    return replacer(key, value);
  });
}

function replacer(key: string, value: unknown): unknown {
  if (secretKey.test(key) && typeof value === 'string') return '[secret]';
  if (value instanceof Error) {
    return { name: value.name, message: value.message, stack: value.stack, cause: value.cause };
  }
  return value;
}
