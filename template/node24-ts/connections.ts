import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Limits the resources that callers take of a server by requests that they do not finish. The gateway of
 * `imagebuilder serve` imports this file too.
 */

/** Time within which the head of a request has to arrive. */
export const headersTimeoutMs = 10_000;
/** Pause between two searches for requests whose time is over. */
export const checkIntervalMs = 5_000;

export interface ConnectionLimits {
  readonly maximumConnections: number;
  /** Most bytes of memory for the bodies of all requests together. */
  readonly maximumBodyBytes: number;
}

export interface Connections {
  /** Counts a request from its head to the end of its answer. */
  begin(request: IncomingMessage, response: ServerResponse): Exchange;
  /** Cuts every connection without a whole request. */
  cutWaiting(): void;
}

export interface Exchange {
  /** Reserves so many more bytes for the body. False where there is no room for them. */
  hold(bytes: number): boolean;
  /** The request has arrived whole: its connection is not cut before the answer has been sent. */
  whole(): void;
}

/** A connection, with the bytes of its bodies and the number of its requests that are being answered. */
interface Held {
  bytes: number;
  calls: number;
}

/**
 * Holds a server to limits. Where one is reached, the connection that has waited longest for (the rest of) a request is
 * cut, so that callers who finish their requests get through beside any number of others. Where a request of every
 * connection is being answered, a new connection is cut.
 */
export function boundConnections(server: Server, limits: ConnectionLimits): Connections {
  const open = new Map<Socket, Held>();
  /** Connections without a whole request, in the order in which they began to wait. */
  const waiting = new Set<Socket>();
  let bytes = 0;

  const forget = (socket: Socket) => {
    bytes -= open.get(socket)?.bytes ?? 0;
    open.delete(socket);
    waiting.delete(socket);
  };
  const cutLongest = (): boolean => {
    for (const socket of waiting) {
      forget(socket);
      socket.destroy();
      return true;
    }
    return false;
  };

  server.on('connection', (socket: Socket) => {
    if (open.size >= limits.maximumConnections && !cutLongest()) {
      socket.destroy();
      return;
    }
    open.set(socket, { bytes: 0, calls: 0 });
    waiting.add(socket);
    socket.once('close', () => forget(socket));
  });

  return {
    cutWaiting() {
      while (cutLongest());
    },
    begin({ socket }, response) {
      let held = 0;
      let whole = false;
      response.once('close', () => {
        const connection = open.get(socket);
        if (connection === undefined) return;
        connection.bytes -= held;
        bytes -= held;
        if (whole) connection.calls -= 1;
        if (connection.calls > 0) return;
        waiting.delete(socket);
        waiting.add(socket);
      });
      return {
        hold(more) {
          while (bytes + more > limits.maximumBodyBytes) if (!cutLongest()) return false;
          const connection = open.get(socket);
          if (connection === undefined) return false;
          connection.bytes += more;
          bytes += more;
          held += more;
          return true;
        },
        whole() {
          const connection = open.get(socket);
          if (connection === undefined || whole) return;
          whole = true;
          connection.calls += 1;
          waiting.delete(socket);
        },
      };
    },
  };
}
