// node scripts/bootstrap.mjs [options of Node] ENTRY [arguments]
//
// Does all set-up that ENTRY needs (npm packages, Debian packages), then runs it on the Node that package-lock.json
// pins. Says what it does; is silent when there is nothing to do. Needs nothing but a Node from 18 on, and npm.

import { spawn } from 'node:child_process';
import { accessSync, constants as fileModes, mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureDebianPackages, packageGroups } from './setup/debian.mjs';
import { ensureNpmPackages, isInstalled, needsDevelopmentPackages, nodeBinary } from './setup/npm.mjs';
import { withLock } from './setup/run.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const words = process.argv.slice(2);
const entryIndex = words.findIndex((word) => !word.startsWith('-'));
const nodeOptions = words.slice(0, Math.max(entryIndex, 0));
const [entry, ...args] = words.slice(nodeOptions.length);
const say = (line) => process.stderr.write(`${line}\n`);
const isRoot = process.getuid?.() === 0;

if (entryIndex < 0) {
  say('usage: node scripts/bootstrap.mjs [options of Node] ENTRY [arguments]');
  process.exit(2);
}
if (Number(process.versions.node.split('.')[0]) < 18) {
  say(`Node 18 or later is needed to begin with, and this is ${process.version}.`);
  process.exit(1);
}

// A signal during the set-up ends npm, and is passed on to what runs after it. A reader of this output that has gone
// (`| head`) is like a signal. apt-get goes on to its end: packages that are half installed would break the machine's own
// apt. A Ctrl-C at the terminal reaches it all the same.
const interrupted = new AbortController();
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
let child;
for (const signal of signals) {
  process.on(signal, () => {
    interrupted.abort(signal);
    // The terminal sends its Ctrl-C to the child itself.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child?.kill(signal);
  });
}
process.stderr.on('error', () => interrupted.abort('SIGPIPE'));

const groups = packageGroups(entry, args);
const development = needsDevelopmentPackages(entry);
const ready =
  (isInstalled(root, { development }) || (mayWrite() && (await installPackages()))) &&
  (groups.length === 0 || (await withDebianLock((lock) => ensureDebianPackages(groups, say, { lock }))));
if (interrupted.signal.aborted) end(null, interrupted.signal.reason);
else if (!ready) process.exitCode = 1;
else start(nodeBinary(root));

function start(node) {
  if (node === null) {
    say(`There is no Node here for ${process.platform} on ${process.arch}. Please use Node 22.18 or later.`);
    process.exitCode = 1;
    return;
  }
  child = spawn(node, [...nodeOptions, join(root, entry), ...args], { stdio: 'inherit' });
  child.on('error', (error) => {
    say(`cannot start ${node}: ${error.message}`);
    process.exitCode = 1;
  });
  child.on('close', end);
}

function installPackages() {
  const { signal } = interrupted;
  return withLock(join(root, '.cache', 'setup.lock'), signal, (lock) =>
    ensureNpmPackages(root, say, { development, lock, signal }),
  );
}

/** Only root installs, so only root needs to keep others from installing at the same time, in any checkout. */
function withDebianLock(action) {
  // Not in /run/lock, where every user could make a file of this name first.
  return isRoot ? withLock('/run/imagebuilder-setup.lock', interrupted.signal, action) : action();
}

/** Whether this user may write where the set-up and the caches lie. Says what to do otherwise. */
function mayWrite() {
  const cache = join(root, '.cache');
  try {
    mkdirSync(cache, { recursive: true });
    accessSync(cache, fileModes.W_OK);
    return true;
  } catch {
    say(`This user may not write to ${cache}. Please run this as the owner of ${root}, or in a clone of your own.`);
    return false;
  }
}

/** Ends as the child did, also by the same signal. */
function end(code, signal) {
  if (signal === null) {
    process.exitCode = code ?? 1;
    return;
  }
  for (const name of signals) process.removeAllListeners(name);
  process.exitCode = 128 + constants.signals[signal];
  process.kill(process.pid, signal);
}
