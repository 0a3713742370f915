import { trimEndOf, upTo } from '../text.ts';

/** Parses apt's own words. Their wording has hardly changed since 2010; the tests have every generation met. */

export interface AptMessage {
  readonly level: 'error' | 'warning' | 'notice';
  /** Without the level, continuation lines joined by spaces. */
  readonly text: string;
}

const levels: Readonly<Record<string, AptMessage['level']>> = {
  E: 'error',
  Error: 'error',
  W: 'warning',
  Warning: 'warning',
  N: 'notice',
  Notice: 'notice',
};

/** apt writes one or two for each source; beyond this number only the newest count. */
const maximumMessages = 200;

/**
 * Collects apt's messages: lines `E: …` and `W: …` (`Error: …` since 2.9 where output is for people). Indented lines
 * that follow belong to them. The newest 200 are returned. Lines `Err:1 URL …` are left out: apt sums them up at its
 * end, with the whole URL.
 */
export function parseMessages(lines: readonly string[]): AptMessage[] {
  const messages: { level: AptMessage['level']; text: string }[] = [];
  let open = false;
  for (const line of lines) {
    const match = /^(E|Error|W|Warning|N|Notice): (.*)$/.exec(line);
    const level = levels[match?.[1] ?? ''];
    if (level !== undefined) {
      messages.push({ level, text: tidy(match?.[2] ?? '') });
      open = true;
    } else if (open && /^\s+\S/.test(line)) {
      const last = messages.at(-1);
      if (last !== undefined) last.text = `${last.text} ${tidy(line)}`;
    } else {
      open = false;
    }
  }
  return messages.slice(-maximumMessages);
}

function tidy(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

/** The kind of failure that a message about a repository or a download reports. */
export type RepositoryFault =
  | 'scheme'
  | 'garbled'
  | 'signature'
  | 'expired'
  | 'missing'
  | 'forbidden'
  | 'out-of-step'
  | 'unreachable'
  | 'configuration';

const method = /method driver (\S+) could not be found|The method '([^'\s]+)' is unsupported/i;

/** The method that apt lacks, of a message about that. */
export function methodOf(text: string): string {
  const [, missing = '', disabled] = method.exec(text) ?? [];
  return disabled ?? missing.slice(missing.lastIndexOf('/') + 1);
}

/** In the order in which they are tried: an earlier one explains a later one. */
const patterns: readonly (readonly [RepositoryFault, RegExp])[] = [
  ['scheme', method],
  ['garbled', /Clearsigned file isn't valid|Splitting up \S+ into data and signature/i],
  [
    'signature',
    /NO_PUBKEY|BADSIG|EXPKEYSIG|REVKEYSIG|EXPSIG|ERRSIG|KEYEXPIRED|NODATA|GPG error|is not signed|no longer signed|OpenPGP signature verification failed|Missing key|not bound|unauthenticated|cannot be authenticated/i,
  ],
  ['expired', /is expired \(invalid since|is not valid yet|expired since/i],
  [
    'out-of-step',
    /Hash Sum mismatch|unexpected size|Size mismatch|Mirror sync|\(by-hash\)\s+404|insufficient information/i,
  ],
  ['missing', /\s(404|410)\s|does not have a Release file|no longer has a Release file|File not found/i],
  ['forbidden', /\s(?!408|425|429)4[0-9]{2}\s+\S/],
  [
    'unreachable',
    /\s(408|425|429|5[0-9]{2})\s+\S|Could not (connect|resolve|handshake)|Cannot initiate|Unable to connect|Temporary failure|Something wicked|Connection (failed|timed out|refused|reset|closed)|timed? ?out|Network is unreachable|No route to host|Error reading from|Error writing to|Remote end closed|certificate|handshake|TLS|SSL|Undetermined Error|Bad (header|response)|HTTP server sent|Protocol not supported|Data socket/i,
  ],
  [
    'configuration',
    /Conflicting values set|Malformed (entry|line|stanza)|is not known on line|changed its '[^']*' value/i,
  ],
];

/** Classifies a message; null where it does not report a repository that cannot be used. */
export function repositoryFault(text: string): RepositoryFault | null {
  if (harmless.test(text)) return null;
  // Words inside a URL are not apt's own words. Exception: a file named by its digest fails only where lists are out of
  // step.
  const said = text.split(' ').map(withoutUrl).join(' ');
  return patterns.find(([, pattern]) => pattern.test(said))?.[0] ?? null;
}

/** A word whose URL, from its scheme on, is replaced. */
function withoutUrl(word: string): string {
  const colon = word.indexOf('://');
  let start = colon;
  while (start > 0 && /[a-z+]/i.test(word.charAt(start - 1))) start -= 1;
  if (start === colon) return word;
  return `${word.slice(0, start)}${word.includes('/by-hash/') ? '(by-hash)' : '(URL)'}`;
}

/** Warnings about the future, and those that repeat another message which says it in full. */
const harmless =
  /^Some index files failed to download|Policy will reject signature|uses weak (digest )?algorithm|legacy trusted\.gpg keyring|^Skipping acquire of configured file|is configured multiple times|^Conflicting distribution/i;

/**
 * The repository a message is about: its URL up to `/dists/` or `/pool/`, without a slash at the end; null where the
 * message has no URL.
 */
export function repositoryUrl(text: string): string | null {
  const match = /\b(?:(?:mirror|tor)\+)?(https?|ftp|file|copy|cdrom|mirror|s3|ssh|rsh):\/*[^\s'"]+/.exec(text);
  return match === null ? null : trimEndOf(upTo(match[0], '/dists/', '/pool/'), '/:.,');
}

/** The name after `dists/`, or the word after the URL in `URL noble InRelease`; null where there is none. */
export function repositorySuite(text: string): string | null {
  const inUrl = /\/dists\/([^/\s']+)/.exec(text)?.[1];
  if (inUrl !== undefined) return inUrl;
  const words = text.split(' ');
  const url = words.findIndex((word, index) => /:\/\S/.test(word) && /^(In)?Release/.test(words[index + 2] ?? ''));
  return url === -1 ? null : (words[url + 1] ?? null);
}
