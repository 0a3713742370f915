import type { GuestReport } from '../api/event.ts';
import type { Config } from '../config/load.ts';
import type { ImageBuilderError } from '../errors.ts';
import type { StoreInputs } from '../store/choose.ts';
import { lookAtBroker } from './broker.ts';
import { lookAtPolicies } from './broker-policies.ts';
import { lookAtDevices } from './devices.ts';
import { type Finding, withinLimit } from './finding.ts';
import { foldersOf } from './folders.ts';
import { guestFindings, lookAtGuests, relevantGuests } from './guests.ts';
import { lookAndJudge } from './hindrances.ts';
import { lookAtMachine } from './machine.ts';
import { readResources, resourceFindings } from './resources.ts';
import { lookAtStore } from './store.ts';
import { lookAtToolUser } from './tool-user.ts';
import { lookAtTools, toolFindings } from './tools.ts';
import { lookAtTrials } from './trials.ts';

/**
 * Looks at everything that decides about builds on this machine or in this pod, side by side; a look that hangs does
 * not hang the whole.
 */

export interface DoctorInputs {
  /** The settings that a worker here would have. */
  readonly settings: Pick<Config, 'broker' | 'folders' | 'guest' | 'image' | 'limits' | 'store' | 'tools'>;
  readonly store: StoreInputs;
}

export interface Diagnosis {
  /** Whether builds can run here. */
  readonly ok: boolean;
  /** How builds would open images; null where they cannot. */
  readonly guest: GuestReport | null;
  /** Advice, most urgent first: it makes builds run, or run faster. */
  readonly todo: readonly string[];
}

const limitsMs = { quick: 15_000, broker: 15_000, store: 20_000, guests: 90_000 };

/** Yields findings, always in the same order, and returns the diagnosis. Never throws. */
export async function* diagnose({ settings, store }: DoctorInputs): AsyncGenerator<Finding, Diagnosis> {
  const findings: Finding[] = [];
  const tell = (told: readonly Finding[]) => {
    findings.push(...told);
    return told;
  };
  const { workDirectory } = settings.folders;
  const fileStore = store.openStack === null || settings.store.store === 'file';
  const folders = foldersOf({ ...settings.folders, ...settings.limits }, { fileStore });
  const machine = withinLimit(limitsMs.quick, lookAtMachine);
  const toolUser = withinLimit(limitsMs.quick, () => lookAtToolUser(settings.tools, workDirectory));
  const devices = withinLimit(limitsMs.quick, lookAtDevices);
  const looked = folders.map(lookAndJudge);
  const broker = withinLimit(limitsMs.broker, () =>
    lookAtBroker(settings.broker.amqpUrl, settings.broker.certificates, settings.broker.eventRetentionSeconds),
  );
  const policies = withinLimit(limitsMs.quick, (signal) =>
    lookAtPolicies({ ...settings.broker, trust: store.settings.trust, signal }),
  );
  const stores = withinLimit(limitsMs.store, (signal) => lookAtStore(store, signal));
  const tools = withinLimit(limitsMs.quick, (signal) => lookAtTools(signal));
  const trials = withinLimit(limitsMs.quick, () => lookAtTrials(settings.image.bootCheck));
  const guests = withinLimit(limitsMs.guests, async () => {
    const work = await looked[0];
    return await lookAtGuests({ ...settings.guest, ...settings.tools }, work?.writable === true ? workDirectory : null);
  });

  yield* tell(findingsOf('machine', await machine));
  yield* tell(findingsOf('user of tools', await toolUser));
  yield* tell(findingsOf('devices', await devices));
  for (const folder of looked) yield* tell((await folder).findings);
  const brokerFound = await broker;
  yield* tell('found' in brokerFound ? [brokerFound.found] : findingsOf('RabbitMQ', brokerFound));
  yield* tell(noHindrance('policies of RabbitMQ', await policies));
  yield* tell(findingsOf('store', await stores));

  const state = await guests;
  const relevant = 'found' in state ? relevantGuests(state.found) : new Set<'host' | 'vm'>();
  const toolStates = await tools;
  yield* tell('found' in toolStates ? toolFindings(toolStates.found, relevant) : findingsOf('tools', toolStates));
  yield* tell('found' in state ? guestFindings(state.found) : findingsOf('guest', state));
  const guest = 'found' in state && !('unavailable' in state.found.choice) ? state.found.choice : null;
  yield* tell(findingsOf('boot check', await trials));
  yield* tell(resourceFindings(readResources(), settings.guest, guest));
  return { ok: findings.every(({ ok }) => ok), guest, todo: todoOf(findings) };
}

/** The same where the settings have faults: the findings that need no settings, and the faults. */
export async function* diagnoseUnsettled(error: ImageBuilderError): AsyncGenerator<Finding, Diagnosis> {
  yield* findingsOf('machine', await withinLimit(limitsMs.quick, lookAtMachine));
  yield* findingsOf('devices', await withinLimit(limitsMs.quick, lookAtDevices));
  const faults = error.faults.map(({ path, message }) => `${path} ${message}`);
  for (const detail of faults.length === 0 ? [error.message] : faults) yield { what: 'settings', ok: false, detail };
  return { ok: false, guest: null, todo: ['correct the settings; only then the rest can be looked at'] };
}

type Looked<Found> = Awaited<ReturnType<typeof withinLimit<Found>>>;

function findingsOf(what: string, looked: Looked<readonly Finding[]>): readonly Finding[] {
  return 'found' in looked ? looked.found : [{ what, ok: false, detail: `cannot be looked at: ${looked.failure}` }];
}

/** The same for a look that no build depends on. */
function noHindrance(what: string, looked: Looked<readonly Finding[]>): readonly Finding[] {
  return findingsOf(what, looked).map((finding) => ({ ...finding, ok: true }));
}

/** The advice of the findings, each piece once: that for hindrances of builds comes before that for improvements. */
export function todoOf(findings: readonly Finding[]): string[] {
  const urgentFirst = [...findings.filter(({ ok }) => !ok), ...findings.filter(({ ok }) => ok)];
  const packages = new Set(urgentFirst.flatMap((finding) => finding.packages ?? []));
  const install = packages.size === 0 ? [] : [`apt-get install --no-install-recommends ${[...packages].join(' ')}`];
  return [...new Set([...install, ...urgentFirst.flatMap(({ todo }) => todo ?? [])])];
}
