import { spawn } from 'node:child_process';

/** Runs a command with its output kept rather than shown; resolves with it, and with whether it succeeded. */
export function run(file, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let output = '';
    const collect = (chunk) => {
      output += chunk;
    };
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    child.on('error', (error) => resolve({ ok: false, output: `${output}${file}: ${error.message}` }));
    child.on('close', (code) => resolve({ ok: code === 0, output }));
  });
}

/**
 * Calls `action` while holding the kernel's lock on `path`, so that two set-ups at once wait for each other. The lock
 * goes with the process that holds it. Where there is no flock (util-linux), `action` runs without it.
 */
export async function withLock(path, action) {
  const holder = spawn('flock', ['--exclusive', path, 'sh', '-c', 'echo locked; cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => {
    holder.on('error', resolve);
    holder.on('close', resolve);
  });
  await Promise.race([new Promise((resolve) => holder.stdout.once('data', resolve)), ended]);
  try {
    return await action();
  } finally {
    holder.stdin.end();
    await ended;
  }
}
