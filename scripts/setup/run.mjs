import { spawn } from 'node:child_process';
import { closeSync, fchmodSync, fstatSync, openSync } from 'node:fs';

/**
 * Runs a command with its output kept rather than shown; resolves with the output, and with whether it succeeded. The
 * command holds `lock` for as long as it runs, even where this process is killed before. An abort of `signal` kills it
 * and all that it has started.
 */
export function run(file, args, { lock, signal, ...options } = {}) {
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe', ...(lock === undefined ? [] : [lock])],
      // A process group of its own, which can be ended as one.
      detached: signal !== undefined,
      ...options,
    });
    let output = '';
    const collect = (chunk) => {
      output += chunk;
    };
    const kill = () => killGroup(child);
    if (signal?.aborted) kill();
    signal?.addEventListener('abort', kill, { once: true });
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    const settle = (result) => {
      signal?.removeEventListener('abort', kill);
      resolve(result);
    };
    child.on('error', (error) => settle({ ok: false, output: `${output}${file}: ${error.message}` }));
    child.on('close', (code) => settle({ ok: code === 0, output }));
  });
}

function killGroup(child) {
  if (child.pid === undefined) return;
  try {
    // npm puts off other signals until its registry has answered. The next `npm ci` begins anew all the same.
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/**
 * Calls `action` while the kernel's lock on `path` is held, so that two set-ups at once wait for each other. `action`
 * gets the open file that carries the lock: a command that inherits it holds the lock until its own end, whatever
 * becomes of this process. Where there is no flock (util-linux), `action` runs without the lock. Where `signal` ends
 * the wait, `action` does not run, and this resolves with undefined.
 */
export async function withLock(path, signal, action) {
  const file = openForThisUser(path);
  try {
    const flock = spawn('flock', ['--exclusive', '3'], { stdio: ['ignore', 'ignore', 'inherit', file] });
    const end = () => flock.kill();
    signal.addEventListener('abort', end, { once: true });
    await new Promise((resolve) => {
      flock.on('error', resolve);
      flock.on('close', resolve);
    });
    signal.removeEventListener('abort', end);
    return signal.aborted ? undefined : await action(file);
  } finally {
    closeSync(file);
  }
}

/** Makes the file where it is missing. A process that can open a file can lock it, so only this user may open it. */
function openForThisUser(path) {
  const file = openSync(path, 'a', 0o600);
  if (fstatSync(file).uid === process.geteuid?.()) fchmodSync(file, 0o600);
  return file;
}
