import { setTimeout as sleep } from 'node:timers/promises';
import type { BuildRequestInput } from '#lib/api/request.ts';
import type { Fleet, Submitted } from '../lab/fleet/fleet.ts';
import type { Callers } from './callers.ts';
import type { Submission } from './plan.ts';

/**
 * One submitter's dealings with the service: it sends, sends again after a missing answer or a request to retry, and
 * cancels.
 */
export interface Dealing {
  readonly submission: Submission;
  readonly ticketId: string;
  /** Ids that were answered with 2xx. */
  readonly accepted: Set<string>;
  /** True where some request got no answer at all, so that it may have made a build of its own. */
  unanswered: boolean;
  /** Answers that should not have come. */
  readonly violations: string[];
}

const equalRequests = 5;
/** Time within which the service must take submissions again, whatever happens. */
const patienceMs = 180_000;

/** Sends the requests of the submission until they are taken. */
export async function submit(submission: Submission, fleet: Fleet, callers: Callers): Promise<Dealing> {
  const { kind, index } = submission;
  const ticketId = `soak-${index}`;
  const dealing: Dealing = { submission, ticketId, accepted: new Set(), unanswered: false, violations: [] };
  const request = requestOf(submission, ticketId, fleet, callers);
  const times = kind === 'equal' ? equalRequests : 1;
  await Promise.all(Array.from({ length: times }, () => sendUntilTaken(request, dealing, fleet)));
  return dealing;
}

async function sendUntilTaken(request: BuildRequestInput, dealing: Dealing, fleet: Fleet): Promise<void> {
  const wanted = dealing.submission.kind === 'invalid' ? [400] : [200, 202];
  for (const end = Date.now() + patienceMs; Date.now() < end; await sleep(500)) {
    let answer: Submitted;
    try {
      answer = await fleet.submit(request);
    } catch {
      dealing.unanswered = true;
      continue;
    }
    const { status, buildId } = answer;
    if (wanted.includes(status)) {
      if (buildId !== '') dealing.accepted.add(buildId);
      return;
    }
    if (status !== 503) {
      dealing.violations.push(`${dealing.ticketId} (${dealing.submission.kind}) was answered with ${status}`);
      return;
    }
  }
  dealing.violations.push(`${dealing.ticketId} was not taken within ${patienceMs / 1000} seconds`);
}

function requestOf(submission: Submission, ticketId: string, fleet: Fleet, callers: Callers): BuildRequestInput {
  const { kind, submitter, packages, callback, index } = submission;
  const request = fleet.request({
    ticket_id: ticketId,
    progress_trigger: callers.exchanges[submitter] ?? '',
    package_list: [...packages],
    ...(callback ? { callback_url: callers.callbackUrl } : {}),
    ...(kind === 'cancel by cancel_url' ? { cancel_url: callers.cancelUrl(index) } : {}),
  });
  switch (kind) {
    case 'unknown package':
      return { ...request, package_list: ['no-such-package', ...packages] };
    case 'unknown PPA':
      return { ...request, ppa_list: ['ppa:nobody/nothing'] };
    case 'failing script':
      return { ...request, package_list: ['fails', ...packages] };
    case 'invalid':
      return { ...request, package_list: ['Not A Package'], progress_trigger: 'amq.topic' };
    default:
      return request;
  }
}
