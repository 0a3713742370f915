import type { GuestSettings } from '../config/guest.ts';
import { toImageBuilderError } from '../errors.ts';
import { requireGuestNeeds } from '../guest/choose.ts';
import { tools } from '../tools.ts';
import type { Finding } from './finding.ts';
import { locateTools, toolFindings } from './tools.ts';

/** The look at the programs of builds and at the guest that the doctor, a worker and `imagebuilder serve` share. */

type LookSettings = Pick<GuestSettings, 'guest' | 'vmKernelPath'>;

/**
 * The findings that keep builds from opening images here, in the doctor's words; none where files and rights show no
 * hindrance. It starts no programs, so a worker can ask before every build. Never throws.
 */
export async function findGuestHindrances(settings: LookSettings): Promise<Finding[]> {
  const missing = toolFindings(await locateTools(tools), new Set()).filter(({ ok }) => !ok);
  return [...missing, ...(await findingOf(requireGuestNeeds(settings)))];
}

export interface GuestLookOptions {
  readonly settings: LookSettings;
  /** Makes the choice of the builds, trying the guest; it keeps a choice that it has made. */
  readonly chooseGuest: () => Promise<unknown>;
}

/** A guest that has failed its trial is tried again after so long. */
const trialEveryMs = 60_000;

/**
 * The same look for a worker that runs. The host guest is also tried once, because files and rights do not show whether
 * mounts, loop devices and containers work here. The vm guest is not: its trial takes long, and only finds out how fast
 * it is.
 */
export function createGuestLook({ settings, chooseGuest }: GuestLookOptions): () => Promise<Finding[]> {
  let failed: { readonly at: number; readonly findings: Finding[] } | null = null;
  return async () => {
    const hindrances = await findGuestHindrances(settings);
    if (hindrances.length > 0 || settings.guest !== 'host') return hindrances;
    if (failed !== null && Date.now() < failed.at + trialEveryMs) return failed.findings;
    const findings = await findingOf(chooseGuest());
    failed = findings.length === 0 ? null : { at: Date.now(), findings };
    return findings;
  };
}

async function findingOf(look: Promise<unknown>): Promise<Finding[]> {
  return await look.then(
    () => [],
    (error: unknown) => [{ what: 'guest', ok: false, detail: toImageBuilderError(error).message }],
  );
}
