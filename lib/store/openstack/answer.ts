import type { IncomingHttpHeaders } from 'node:http';

/** What a server of OpenStack has answered, read whole. */
export interface Answer {
  readonly url: string;
  readonly status: number;
  readonly statusText: string;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}
