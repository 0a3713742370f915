import { connect, type Socket } from 'node:net';

/** An HTTP caller that may break the rules of HTTP. */

export interface RawCaller {
  readonly socket: Socket;
  /** The answer of the server so far. */
  text(): string;
  /** Resolves with the whole answer, once the server has closed the connection. */
  readonly closed: Promise<string>;
}

/** Connects and sends the parts as they are. */
export function rawCall(port: number, ...parts: readonly (string | Uint8Array)[]): RawCaller {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk;
  });
  socket.on('error', () => {}); // A server that cuts the connection is what the tests are about.
  for (const part of parts) socket.write(part);
  const { promise: closed, resolve } = Promise.withResolvers<string>();
  socket.once('close', () => resolve(text));
  return { socket, text: () => text, closed };
}

/** The head of a POST that announces a body of so many bytes. */
export function postHead(path: string, length: number, headers: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: ${length}\r\n${lines.join('')}\r\n`;
}
