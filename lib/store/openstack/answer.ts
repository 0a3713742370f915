import type { IncomingHttpHeaders } from 'node:http';

/** The answer of an OpenStack server, read whole. */
export interface Answer {
  readonly url: string;
  readonly status: number;
  readonly statusText: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}
