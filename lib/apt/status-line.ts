/** What apt tells on its status file descriptor (apt's doc/progress-reporting.md). */
export interface AptStatus {
  /** `download`: fetching. `package`: dpkg at work on `name`. `failure`: dpkg could not go on with `name`. */
  readonly kind: 'download' | 'package' | 'failure';
  /** The package, possibly with `:architecture`; of a download, its number. */
  readonly name: string;
  readonly percent: number;
  readonly message: string;
}

const kinds: Readonly<Record<string, AptStatus['kind']>> = {
  dlstatus: 'download',
  pmstatus: 'package',
  pmerror: 'failure',
};

/** Parses one line; null for what is of no interest. Package names may hold a colon, percentages never do. */
export function parseStatusLine(line: string): AptStatus | null {
  const match = /^([a-z]+):(.*?):([0-9]+(?:\.[0-9]+)?):(.*)$/.exec(line);
  if (match === null) return null;
  const [, word = '', name = '', percent = '', message = ''] = match;
  const kind = kinds[word];
  return kind === undefined
    ? null
    : { kind, name: name.trim(), percent: Math.min(100, Number(percent)), message: message.trim() };
}
