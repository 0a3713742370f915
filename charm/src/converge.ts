import { digestOfStart } from './digest.ts';
import { findTrouble, type Readiness, waitUntilReady } from './gateway.ts';
import type { Hook } from './hook.ts';
import { log, type StatusName, setStatus, setVersion } from './hook-tools.ts';
import { arePackagesInstalled, installPackages } from './packages.ts';
import { showPort } from './ports.ts';
import { installProgram, isProgramInstalled, removeOtherPrograms } from './program.ts';
import { publishAddress, publishRequests } from './publish.ts';
import { isActive, isRunningWith, startService, stopService, writeUnit } from './service.ts';
import { removeSecrets, writeSettings } from './settings.ts';
import { type JujuState, readState } from './state.ts';
import { ensureUser } from './user.ts';
import { type Wanted, wantedOf } from './wanted.ts';

/** Patience with a service that was started now, and with one that runs already. */
const startMs = 60_000;
const runningMs = 10_000;

/** Brings the machine to what Juju says, whatever hook runs, and however often. */
export async function converge(hook: Hook): Promise<void> {
  const state = readState(hook);
  const wanted = wantedOf(state);
  const runs = wanted.hindrances.length === 0 && !state.paused;
  // First: a service must not run on as a user that is being deleted, or on a folder that is being taken away.
  if (!runs) stopService();
  removeSecrets(wanted);
  publishRequests(state);
  const { fault, readiness } = await install(state, wanted, runs);
  const answers = readiness !== null && readiness.kind !== 'ended';
  showPort(runs ? wanted.port : null);
  publishAddress(state, wanted, answers);
  const [name, message] = fault === null ? await statusOf(state, wanted, readiness) : (['blocked', fault] as const);
  setStatus(name, message);
}

interface Installation {
  /** The reason why the machine could not be brought there; null where it was. */
  readonly fault: string | null;
  /** Null for a service that does not run. */
  readonly readiness: Readiness | null;
}

async function install(state: JujuState, wanted: Wanted, runs: boolean): Promise<Installation> {
  const failed = (fault: string): Installation => ({ fault, readiness: null });
  const lack = installTools();
  // A service that has its tools already, as before an upgrade, gets new settings and passwords all the same.
  if (lack !== null && !isActive()) return failed(lack);
  if (!isProgramInstalled()) setStatus('maintenance', 'Installing the program');
  const { digest, version } = installProgram();
  setVersion(version);
  writeSettings(wanted, state.ownToken, ensureUser());
  writeUnit(wanted.hostGuest);
  if (!runs) {
    removeOtherPrograms(digest);
    return { fault: lack, readiness: null };
  }
  const settings = digestOfStart(digest, wanted);
  if (isRunningWith(settings)) return { fault: lack, readiness: await waitUntilReady(wanted.port, runningMs) };
  const reason = startService(settings);
  if (reason !== null) return failed(`imagebuilder.service does not start: ${firstLine(reason)}`);
  removeOtherPrograms(digest);
  return { fault: lack, readiness: await waitUntilReady(wanted.port, startMs) };
}

/** Gives back why Debian packages with tools are missing; null where they are there. */
function installTools(): string | null {
  if (arePackagesInstalled()) return null;
  setStatus('maintenance', 'Installing Debian packages');
  const reason = installPackages();
  if (reason === null) return null;
  log('ERROR', reason);
  return `Debian packages cannot be installed (tried again at each hook): ${firstLine(reason)}`;
}

async function statusOf(
  state: JujuState,
  wanted: Wanted,
  readiness: Readiness | null,
): Promise<readonly [StatusName, string]> {
  if (wanted.hindrances.length > 0) {
    const status = wanted.hindrances.some((one) => one.status === 'blocked') ? 'blocked' : 'waiting';
    const messages = wanted.hindrances.filter((one) => one.status === status).map(({ message }) => message);
    return [status, messages.join('; ')];
  }
  if (state.paused) return ['maintenance', `Paused: juju run ${state.unit} resume`];
  if (readiness?.kind === 'ended') return ['blocked', `Image Builder does not start: ${readiness.reason}`];
  const trouble = await findTrouble(wanted.port, wanted.callToken, wanted.workerName);
  if (trouble !== null) return ['waiting', trouble];
  if (readiness?.kind === 'unready') return ['waiting', `Image Builder is not ready: ${readiness.reason}`];
  const open = wanted.callToken === null ? ' (without a token: everybody who reaches it may call)' : '';
  const blind = state.relations['cos-agent'].length > 0 && wanted.metricsToken === undefined;
  const unread = blind ? ' (COS gets no metrics: it needs the option metrics-token)' : '';
  return ['active', `Ready on port ${wanted.port}${open}${unread}`];
}

const firstLine = (text: string): string => text.split('\n')[0] ?? '';
