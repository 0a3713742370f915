import type { ArtifactReport } from '../api/artifact-report.ts';
import type { BuildErrorReport, BuildEvent, BuildStep, GuestReport } from '../api/event.ts';
import type { BaseImageReport, ImageResult } from '../api/image-result.ts';
import type { ImageBuilderError } from '../errors.ts';

/**
 * Bounds for what goes into an event from outside: lines and messages of packages' scripts, apt and servers, the
 * packages of an image. All sizes are bytes of JSON in UTF-8, the form in which RabbitMQ keeps events.
 */

const maximumMessageBytes = 1_000;
const maximumErrorBytes = 2_000;
const maximumLineBytes = 1_000;
/** Of a line of the whole log. */
const maximumKeptLineBytes = 4 * 1024;
const maximumLogLines = 20;
const maximumLogBytes = 4 * 1024;
const maximumTailLines = 40;
const maximumTailBytes = 5 * 1024;
const maximumReasonBytes = 500;
const maximumWarningsBytes = 4 * 1024;
/** Most bytes of the name of a package, and of its version. */
const maximumNameBytes = 256;
/** Of packages that were added, changed or removed; the last have at most a quarter of it. */
const maximumPackagesBytes = 40 * 1024;
/** Of the entries of files beside the image, some seven; those of a release with more take the room of packages. */
const usualArtifactsBytes = 6 * 1024;
/** A URL of a request in ASCII fits without a cut. */
const maximumUrlBytes = 2_048;

/** Most bytes of an event, without the packages of a finished image. */
export const maximumEventBytes = 16 * 1024;
/** Most bytes of any event. */
export const maximumFinishedEventBytes = 64 * 1024;

/** Characters that JSON writes without escapes, one byte each. */
const plainAscii = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

const printableAscii = /^[\x20-\x7e]*$/;

/**
 * `text` on one line in at most `maximumBytes`, the cut marked by `…`. Control characters and terminal sequences are
 * dropped: JSON would write six bytes for each.
 */
export function boundText(text: string, maximumBytes: number): string {
  if (text.length <= maximumBytes && plainAscii.test(text)) return text;
  let kept = '';
  let bytes = 0;
  let apart = false;
  for (let at = 0; at < text.length; ) {
    const code = text.codePointAt(at) ?? 0;
    if (isControl(code)) {
      const next = afterControl(text, at);
      // Words that a tab separated stay separate; a sequence that sets a colour separates nothing.
      apart ||= next === at + 1;
      at = next;
      continue;
    }
    at += code > 0xffff ? 2 : 1;
    const character = isLoneSurrogate(code) ? '\ufffd' : String.fromCodePoint(code);
    const part = apart && kept !== '' && character !== ' ' && !kept.endsWith(' ') ? ` ${character}` : character;
    apart = false;
    bytes += jsonBytes(part);
    if (bytes > maximumBytes - 3) return `${kept}…`;
    kept += part;
  }
  return kept;
}

/** The newest of `lines` that fit, oldest first, each bounded. */
export function boundLines(lines: readonly string[], maximumLines: number, maximumBytes: number): string[] {
  const kept: string[] = [];
  let bytes = 0;
  for (const line of lines.slice(-maximumLines).reverse()) {
    const bounded = boundLine(line);
    // With its quotes and the comma.
    bytes += jsonBytes(bounded) + 3;
    if (bytes > maximumBytes) break;
    kept.unshift(bounded);
  }
  return kept;
}

export function boundLine(line: string): string {
  return boundText(line, maximumLineBytes);
}

/** A line of the whole log, which is no JSON. */
export function boundKeptLine(line: string): string {
  return line.length <= maximumKeptLineBytes && printableAscii.test(line)
    ? line
    : boundText(line, maximumKeptLineBytes);
}

export function boundMessage(message: string): string {
  return boundText(message, maximumMessageBytes);
}

/** The newest log lines of an event; where lines are missing before them, the first says how many. */
export function boundLog(unsent: readonly string[], leftOut: number): string[] {
  if (leftOut === 0) {
    const all = boundLines(unsent, maximumLogLines, maximumLogBytes);
    if (all.length === unsent.length) return all;
  }
  const kept = boundLines(unsent, maximumLogLines - 1, maximumLogBytes - 100);
  return [linesLeftOut(leftOut + unsent.length - kept.length), ...kept];
}

export function linesLeftOut(count: number): string {
  return `(${count} lines left out)`;
}

export function boundGuest(report: GuestReport): GuestReport {
  return { ...report, reason: boundText(report.reason, maximumReasonBytes) };
}

/**
 * The result with as many of its packages as fit beside the entries of `artifacts`, added and removed; the others are
 * counted.
 */
export function boundImage(image: ImageResult, artifacts: readonly ArtifactReport[]): ImageResult {
  const { base_image: base, warnings } = image;
  const beyond = Math.max(0, Buffer.byteLength(JSON.stringify(artifacts)) - usualArtifactsBytes);
  return {
    ...boundPackages(image, Math.max(0, maximumPackagesBytes - beyond)),
    ...(warnings === undefined ? {} : { warnings: boundLines(warnings, maximumTailLines, maximumWarningsBytes) }),
    ...(base === undefined ? {} : { base_image: boundBase(base) }),
  };
}

function boundBase(base: BaseImageReport): BaseImageReport {
  const bounded = (url: string) => boundText(url, maximumUrlBytes);
  const { url, checksums_url: sums } = base;
  return { ...base, url: bounded(url), checksums_url: sums === null ? null : bounded(sums) };
}

function boundPackages(image: ImageResult, maximumBytes: number): ImageResult {
  const removed = boundList(image.removed ?? [], maximumBytes / 4);
  const packages = boundList(image.packages ?? [], maximumBytes - removed.bytes);
  return {
    ...image,
    ...(image.packages === undefined ? {} : { packages: packages.kept }),
    ...(packages.omitted === 0 ? {} : { packages_omitted: packages.omitted }),
    ...(image.removed === undefined ? {} : { removed: removed.kept }),
    ...(removed.omitted === 0 ? {} : { removed_omitted: removed.omitted }),
  };
}

/** The first of the packages that fit, each of their texts bounded. */
function boundList<Entry extends { readonly name: string; readonly version: string }>(
  entries: readonly Entry[],
  maximumBytes: number,
): { readonly kept: Entry[]; readonly bytes: number; readonly omitted: number } {
  const kept: Entry[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const bounded = Object.fromEntries(
      Object.entries<string>(entry).map(([name, text]) => [name, boundText(text, maximumNameBytes)]),
    ) as Entry;
    const size = Buffer.byteLength(JSON.stringify(bounded)) + 1;
    if (bytes + size > maximumBytes) break;
    bytes += size;
    kept.push(bounded);
  }
  return { kept, bytes, omitted: entries.length - kept.length };
}

/** An error for callers, with the newest lines of `log` where it has no log of its own. */
export function toErrorReport(
  error: ImageBuilderError,
  step: BuildStep | null,
  log: readonly string[],
): BuildErrorReport {
  const lines = error.logTail.length > 0 ? error.logTail : log.slice(-20);
  const tail = boundLines(lines, maximumTailLines, maximumTailBytes);
  return {
    code: error.code,
    message: boundText(error.message, maximumErrorBytes),
    step,
    fault: error.fault,
    retryable: error.retryable,
    ...(tail.length === 0 ? {} : { log_tail: tail }),
  };
}

/** The approximate size of an event in RabbitMQ. */
export function eventBytes(event: BuildEvent): number {
  return Buffer.byteLength(JSON.stringify(event)) + messageOverheadBytes;
}

/** Properties of a message and a stream's own bytes for it, measured with RabbitMQ 3.10 and 4.0. */
const messageOverheadBytes = 250;

/** JSON bytes of a string without control characters and lone surrogates, without its quotes. */
function jsonBytes(text: string): number {
  return Buffer.byteLength(JSON.stringify(text)) - 2;
}

/** Unicode's category Cc. */
function isControl(code: number): boolean {
  return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

function isLoneSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdfff;
}

const escapeCode = 0x1b;

/**
 * The place where the text continues after a control character; after `ESC [`, where its sequence ends (ECMA-48, 5.4).
 */
function afterControl(text: string, at: number): number {
  if (text.charCodeAt(at) !== escapeCode || text[at + 1] !== '[') return at + 1;
  let end = at + 2;
  while (end < text.length && text.charCodeAt(end) >= 0x20 && text.charCodeAt(end) <= 0x3f) end += 1;
  return end < text.length && text.charCodeAt(end) >= 0x40 && text.charCodeAt(end) <= 0x7e ? end + 1 : end;
}
