import { isUtf8 } from 'node:buffer';
import { ImageBuilderError } from '../errors.ts';
import { findJsonFault } from './json-fault.ts';

/** The body of a call that carries JSON. Whatever is wrong with the body as a whole is one fault, with its remedy. */

export interface BodyOfCall {
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  readonly rawBody: Uint8Array;
}

/**
 * Reads the body of a call as a JSON object. Throws `request.media_type` where its headers do not say that it is JSON:
 * a page of another site can send a body of three other types, or of none, and of no further one, without a preflight.
 * Throws `request.malformed` for a body that is empty or no JSON, and `request.invalid` for JSON that is no object.
 */
export function readJsonObject({ headers, rawBody }: BodyOfCall): Readonly<Record<string, unknown>> {
  if (rawBody.length === 0) {
    throw malformed(`the body is empty; send a JSON object, with the header "Content-Type: application/json"`);
  }
  requireJsonType(headers['content-type'] ?? '');
  requireNoCoding(headers['content-encoding'] ?? '');
  const text = decode(Buffer.from(rawBody.buffer, rawBody.byteOffset, rawBody.byteLength));
  return requireObject(parseJson(text));
}

/** A media type without parameters, in lower case (RFC 9110, 8.3.1). */
const mediaType = /^[a-z0-9!#$%&'*+.^_`|~-]+\/[a-z0-9!#$%&'*+.^_`|~-]+$/;

function requireJsonType(given: string): void {
  const type = (given.split(';', 1)[0] ?? '').trim().toLowerCase();
  if (type === 'application/json' || (type.endsWith('+json') && mediaType.test(type))) return;
  const said = given === '' ? 'the request has no Content-Type' : `the request has ${quoted('Content-Type', given)}`;
  throw new ImageBuilderError(
    'request.media_type',
    `${said}; send the body as JSON, with the header "Content-Type: application/json"`,
  );
}

function requireNoCoding(given: string): void {
  if (given === '' || given.trim().toLowerCase() === 'identity') return;
  throw new ImageBuilderError(
    'request.media_type',
    `the request has ${quoted('Content-Encoding', given)}; send the body as it is, without Content-Encoding`,
  );
}

function quoted(name: string, value: string): string {
  return `the header "${name}: ${value.slice(0, 100)}"`;
}

/** RFC 8259, 8.1: JSON on its way between systems is UTF-8, whatever a charset says, and begins with no byte order mark. */
function decode(raw: Buffer): string {
  const utf16 = [0xfeff, 0xfffe].includes(raw.length > 1 ? raw.readUInt16BE() : 0) || raw[0] === 0 || raw[1] === 0;
  if (utf16)
    throw malformed('the body is not JSON: it is UTF-16 or UTF-32; send it as UTF-8, without a byte order mark');
  if (raw.length > 2 && raw.readUIntBE(0, 3) === 0xefbbbf) {
    throw malformed('the body is not JSON: it begins with a byte order mark (the bytes EF BB BF); send it without one');
  }
  if (!isUtf8(raw)) {
    const offset = firstNonUtf8(raw);
    const byte = raw.toString('hex', offset, offset + 1).toUpperCase();
    throw malformed(
      `the body is not JSON: it is not UTF-8 at byte ${offset + 1} (hexadecimal ${byte}); send it as UTF-8`,
    );
  }
  return raw.toString('utf8');
}

/** Offset of the first byte that is not part of a character in UTF-8. */
function firstNonUtf8(raw: Buffer): number {
  const replacement = '\ufffd';
  const text = raw.toString('utf8');
  let offset = 0;
  for (let at = 0; ; at += 1) {
    const next = text.indexOf(replacement, at);
    if (next === -1) return offset;
    offset += Buffer.byteLength(text.slice(at, next));
    // A replacement character may stand in the body itself, too.
    if (raw.toString('hex', offset, offset + 3) !== 'efbfbd') return offset;
    offset += 3;
    at = next;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The message of JSON.parse quotes the body, which may hold passwords, and the log has no business with them.
    const fault = findJsonFault(text);
    if (fault === null) throw malformed('the body is not JSON');
    const { offset, expected } = fault;
    const before = text.slice(0, offset);
    const line = before.split('\n').length;
    const column = offset - before.lastIndexOf('\n');
    const found =
      offset === text.length
        ? 'it ends'
        : `${JSON.stringify(String.fromCodePoint(text.codePointAt(offset) ?? 0))} stands`;
    throw malformed(`the body is not JSON: at line ${line}, column ${column} ${found} where ${expected} is expected`);
  }
}

function requireObject(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  const kind = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
  const twice = typeof value === 'string' && value.trimStart().startsWith('{') ? ': it was encoded twice' : '';
  const message = `must be a JSON object, not ${kind}${twice}`;
  throw new ImageBuilderError('request.invalid', `the request has one fault: $ ${message}`, {
    faults: [{ path: '$', message }],
  });
}

function malformed(message: string): ImageBuilderError {
  return new ImageBuilderError('request.malformed', message);
}
