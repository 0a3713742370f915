/** True for the content type of server-sent events (HTML Living Standard, 9.2). `lib/serve/` imports this file too. */
export function isEventStream(contentType: string | undefined): boolean {
  return /^text\/event-stream *(?:;|$)/i.test(contentType ?? '');
}
