import { access } from 'node:fs/promises';
import { createConnection } from 'node:net';

/** Whether a program accepts connections on a Unix socket. */
export async function accepts(socketPath: string): Promise<boolean> {
  try {
    await access(socketPath);
  } catch {
    return false;
  }
  return await new Promise((resolve) => {
    const socket = createConnection(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
