import { upTo } from '../text.ts';

/** One report of apt on its status file descriptor (apt's doc/progress-reporting.md). */
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

/** Parses one line; null for lines of no interest. Package names may hold a colon, percentages never do. */
export function parseStatusLine(line: string): AptStatus | null {
  const kind = kinds[upTo(line, ':')];
  if (kind === undefined) return null;
  const parts = line.split(':');
  const place = parts.findIndex((part, index) => index > 1 && /^[0-9]+(\.[0-9]+)?$/.test(part));
  if (place === -1 || place === parts.length - 1) return null;
  return {
    kind,
    name: parts.slice(1, place).join(':').trim(),
    percent: Math.min(100, Number(parts[place])),
    message: parts
      .slice(place + 1)
      .join(':')
      .trim(),
  };
}
