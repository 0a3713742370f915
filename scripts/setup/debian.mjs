import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { run } from './run.mjs';

/**
 * Finds out which Debian packages are missing and installs them, leaving the machine's services as they were.
 * Plain JavaScript without dependencies, for any Node from 18 on: it runs before anything is installed.
 */

const policyFile = '/usr/sbin/policy-rc.d';
const policyMark = '# Put here by Image Builder while it installs packages; it removes it afterwards.';
const policyDenies = 101;

const groups = JSON.parse(readFileSync(new URL('../debian-packages.json', import.meta.url), 'utf8'));

/** Groups that are optional where they cannot be installed: tests that need them count as skipped. */
const optionalGroups = ['lint'];

/** Which groups of scripts/debian-packages.json an entry file uses, given its arguments and its user. */
export function packageGroups(entry, args, isRoot = process.getuid() === 0) {
  if (args.includes('--help') || args.includes('-h')) return [];
  const quickstart = ['run', 'quickstart'];
  const rootless = isRoot ? [] : ['vm', 'rootless'];
  if (entry === 'quickstart/main.ts') {
    return [
      ...quickstart,
      ...rootless,
      ...['boot', 'cd', 'openstack', 'touch'].filter((group) => args.includes(`--${group}`)),
    ];
  }
  if (entry === 'bin/imagebuilder.ts') return ['run', 'vm'];
  if (entry === 'soak/main.ts') return quickstart;
  if (entry === 'packaging/charm/main.ts') return ['charm'];
  if (entry === 'bench/main.ts') {
    return [...quickstart, ...rootless, 'vm', 'openstack', 'bench', ...(args.includes('cd') ? ['cd'] : [])];
  }
  if (entry === 'test/run.ts') {
    const chosen = args.filter((arg) => ['check', 'unit', 'system', 'long'].includes(arg));
    const uses = (kind) => chosen.length === 0 || chosen.includes(kind);
    return [
      ...(uses('system') || chosen.includes('long') ? [...quickstart, 'vm', 'boot', 'openstack', 'test', 'touch'] : []),
      ...(uses('check') ? ['lint'] : []),
    ];
  }
  return [];
}

/**
 * The packages to install for `wanted`, where each is a package name or alternatives `a | b`: none where one
 * alternative is installed, otherwise the first alternative that apt knows (or the first, when it knows none).
 */
export function missingPackages(wanted, installed, known) {
  const missing = wanted.flatMap((entry) => {
    const alternatives = entry.split('|').map((name) => name.trim());
    if (alternatives.some((name) => installed.has(name))) return [];
    return [alternatives.find((name) => known.has(name)) ?? alternatives[0]];
  });
  return [...new Set(missing)];
}

/**
 * Makes sure that all packages of the groups are installed. Where that fails, it prints why and returns false; true all
 * the same where only packages of optional groups are missing. apt-get holds `lock`, an open file, while it runs.
 */
export async function ensureDebianPackages(groupNames, say, { lock } = {}) {
  const isOptional = (name) => optionalGroups.includes(name);
  const needed = groupNames.filter((name) => !isOptional(name));
  if (!(await ensurePackages(needed, say, lock))) return false;
  if (process.getuid() === 0) await ensurePackages(groupNames.filter(isOptional), say, lock);
  return true;
}

async function ensurePackages(groupNames, say, lock) {
  const wanted = groupNames.flatMap((name) => groups[name]);
  if (wanted.length === 0) return true;
  if (!existsSync('/usr/bin/dpkg-query') || !existsSync('/usr/bin/apt-get')) {
    say('This machine is neither Debian nor Ubuntu, so its packages cannot be checked. What is needed is what these');
    say(`Debian packages hold: ${wanted.join(', ')}.`);
    return true;
  }
  if (missingPackages(wanted, installedPackages(wanted), new Set()).length === 0) return true;
  const find = () => missingPackages(wanted, installedPackages(wanted), knownPackages(wanted));
  let missing = find();

  const command = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid() !== 0) {
    say('These Debian packages are missing. Have an administrator install them, then try again:');
    say('');
    say(`  sudo ${command}`);
    return false;
  }
  if (!removeStalePolicy()) {
    say(
      `This machine's own ${policyFile} lets services start while packages are installed. So that nothing is started`,
    );
    say('unasked, please install the missing packages yourself, then try again:');
    say('');
    say(`  ${command}`);
    return false;
  }

  say(`Installing Debian packages (about a minute or two): ${missing.join(' ')}`);
  if (!(await withoutServices(() => install(find, say, lock), say))) {
    say(`Installing the packages failed. By hand: ${command}`);
    return false;
  }
  missing = find();
  if (missing.length > 0) say(`These packages are still missing: ${missing.join(' ')}`);
  return missing.length === 0;
}

async function install(find, say, lock) {
  const apt = (...args) =>
    run('apt-get', ['-q', '-y', '-o', 'DPkg::Lock::Timeout=600', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', NEEDRESTART_SUSPEND: '1' },
      lock,
    });
  const installMissing = () => apt('install', '--no-install-recommends', ...find());
  const fresh = find().every((name) => knownPackages([name]).size > 0) && listsAreFresh();
  if (fresh && (await installMissing()).ok) return true;
  // Old lists name versions that the mirror has dropped since, so a failure is worth one update.
  const update = await apt('update');
  if (!update.ok) say(`apt-get update failed; going on with what it did get:\n${update.output.trim()}`);
  const result = await installMissing();
  if (!result.ok) say(result.output.trim());
  return result.ok;
}

function listsAreFresh() {
  try {
    const day = 24 * 60 * 60 * 1000;
    return Date.now() - statSync('/var/lib/apt/lists/partial').mtimeMs < day;
  } catch {
    return false;
  }
}

function installedPackages(entries) {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the format is dpkg-query's, which has the same syntax.
  const format = '${db:Status-Status} ${Package}\\n';
  const { stdout } = spawnSync('dpkg-query', ['-W', '-f', format, ...names(entries)], { encoding: 'utf8' });
  return new Set(stdout.split('\n').flatMap((line) => (line.startsWith('installed ') ? [line.slice(10)] : [])));
}

/** The packages that apt could install: `apt-cache policy` names a candidate for them. */
function knownPackages(entries) {
  const { stdout } = spawnSync('apt-cache', ['policy', ...names(entries)], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
  return new Set(
    [...stdout.matchAll(/^(\S+):\n {2}Installed: .*\n {2}Candidate: (?!\(none\))/gm)].map(([, name]) => name),
  );
}

function names(entries) {
  return entries.flatMap((entry) => entry.split('|').map((name) => name.trim()));
}

/** Removes a policy file of an earlier run that was killed. False where another policy file allows starts. */
function removeStalePolicy() {
  if (!existsSync(policyFile)) return true;
  if (readFileSync(policyFile, 'utf8').includes(policyMark)) {
    rmSync(policyFile);
    return true;
  }
  return spawnSync(policyFile, ['rabbitmq-server', 'start'], { stdio: 'ignore' }).status === policyDenies;
}

/**
 * Runs `action` with service starts denied (see invoke-rc.d(8)), and afterwards disables the services that it newly
 * enabled, so that they do not start with the machine either.
 */
async function withoutServices(action, say) {
  const ours = !existsSync(policyFile);
  const before = enabledUnits();
  try {
    if (ours) writeFileSync(policyFile, `#!/bin/sh\n${policyMark}\nexit ${policyDenies}\n`, { mode: 0o755 });
    return await action();
  } finally {
    if (ours) rmSync(policyFile, { force: true });
    const added = [...enabledUnits()].filter((unit) => !before.has(unit));
    if (added.length > 0) {
      spawnSync('systemctl', ['--quiet', 'disable', ...added], { stdio: 'ignore' });
      say(`Their system services are neither started nor enabled: ${added.join(' ')}`);
    }
  }
}

function enabledUnits() {
  const { stdout } = spawnSync('systemctl', ['list-unit-files', '--state=enabled', '--no-legend', '--no-pager'], {
    encoding: 'utf8',
  });
  return new Set(
    (stdout ?? '')
      .split('\n')
      .flatMap((line) => line.trim().split(/\s+/).slice(0, 1))
      .filter(Boolean),
  );
}
