import { spawn } from 'node:child_process';
import { closeSync, fchmodSync, fstatSync, openSync } from 'node:fs';

/** Runs a command with its output kept rather than shown; resolves with the output, and with whether it succeeded. */
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
  closeToOthers(path);
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

/**
 * Makes the file where it is missing. A process that can open a file can lock it, so only this user may open this one.
 */
function closeToOthers(path) {
  let file;
  try {
    file = openSync(path, 'a', 0o600);
    if (fstatSync(file).uid === process.geteuid?.()) fchmodSync(file, 0o600);
  } catch {
    // The file is another user's: flock reports that.
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
