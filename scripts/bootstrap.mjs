// node scripts/bootstrap.mjs [options of Node] ENTRY [arguments]
//
// Does all set-up that ENTRY needs (npm packages, Debian packages), then runs it on the Node that package-lock.json
// pins. Says what it does; is silent when there is nothing to do. Needs nothing but a Node from 18 on, and npm.

import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureDebianPackages, packageGroups } from './setup/debian.mjs';
import { ensureNpmPackages, nodeBinary } from './setup/npm.mjs';
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

// A signal during the set-up reaches npm and apt-get too; their work is tidied up before this process ends.
let interruptedBy;
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
let child;
for (const signal of signals) {
  process.on(signal, () => {
    interruptedBy ??= signal;
    // The terminal sends its Ctrl-C to the child itself.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child?.kill(signal);
  });
}

const groups = packageGroups(entry, args);
mkdirSync(join(root, '.cache'), { recursive: true });
const ready =
  (await withLock(join(root, '.cache', 'setup.lock'), () => ensureNpmPackages(root, say))) &&
  (groups.length === 0 || (await withDebianLock(() => ensureDebianPackages(groups, say))));
if (interruptedBy !== undefined) end(null, interruptedBy);
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

/** Only root installs, so only root needs to keep others from installing at the same time, in any checkout. */
function withDebianLock(action) {
  // Not in /run/lock, where every user could make a file of this name first.
  return isRoot ? withLock('/run/imagebuilder-setup.lock', action) : action();
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
