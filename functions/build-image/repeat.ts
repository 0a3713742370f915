import { readJsonObject } from '#lib/api/body.ts';
import { isTerminal } from '#lib/api/event.ts';
import type { KeptRequest } from '#lib/api/kept-request.ts';
import { BuildRequest } from '#lib/api/request.ts';
import type { Caller, Callers } from '#lib/callers.ts';
import { ImageBuilderError, type RequestFault } from '#lib/errors.ts';
import type { BuildView } from '#lib/queue/build.ts';
import type { FunctionEvent } from '../../template/node24-ts/function.ts';
import { headerFaults } from './callback.ts';
import { packageFaults } from './limits.ts';

/** A retry: the submission of a build that has ended, made again. */

/**
 * Checks a call for a retry. Throws `request.invalid` for a body with anything in it: a retry changes nothing, and must
 * not seem to. Throws the errors of `readJsonObject` for a body that is no JSON object.
 */
export function checkRetry(event: FunctionEvent): void {
  const faults = headerFaults(event);
  const members = event.rawBody.length === 0 ? {} : readJsonObject(event);
  for (const name of Object.keys(members).slice(0, 1)) {
    faults.push({
      path: `$.${name.slice(0, 64)}`,
      message: 'must not be there: a retry repeats the request as it was',
    });
  }
  if (faults.length > 0) throw invalid('the retry', faults);
}

/**
 * The request of a build that has ended. `callbackUrl`: of this call's header, which stands for the former one. Throws
 * `build.unfinished`, and `build.unrepeatable` with each field that is not known any more.
 */
export function repeatRequest(build: BuildView, callbackUrl: string | undefined): BuildRequest {
  const { buildId, state, request: kept } = build;
  if (!isTerminal(state)) {
    const cancel = build.cancelling ? 'it is being cancelled' : 'cancel it first to begin anew';
    throw new ImageBuilderError(
      'build.unfinished',
      `the build ${buildId} is ${state}; it can be repeated when it has ended: wait for that, or ${cancel}`,
    );
  }
  if (kept === null) {
    throw new ImageBuilderError(
      'build.unrepeatable',
      `the request of the build ${buildId} is not known here any more; submit it again`,
    );
  }
  const missing = kept.not_kept.filter(({ path }) => path !== '$.callback_url' || callbackUrl === undefined);
  if (missing.length > 0) throw unrepeatable(buildId, missing);
  const checked = BuildRequest.safeParse(inputOf(build, kept, callbackUrl));
  if (checked.success) return checked.data;
  throw new ImageBuilderError(
    'build.unrepeatable',
    `the request of the build ${buildId} was taken by another version, and this one would refuse it; submit it anew`,
    { cause: checked.error },
  );
}

/**
 * The caller whose build a retry is: it stays that of the former build, and takes one of that caller's places. A caller
 * who is not known by a token any more gets the limits of the one who asks. Throws `request.invalid` for more packages
 * than that caller may name.
 */
export function ownerOf(build: BuildView, request: BuildRequest, callers: Callers, asking: Caller): Caller {
  const owner = callers.named(build.caller) ?? { ...asking, name: build.caller };
  const faults = packageFaults(owner, request);
  if (faults.length > 0) throw invalid(`the request of the build ${build.buildId}`, faults);
  return owner;
}

function inputOf(build: BuildView, kept: KeptRequest, callbackUrl: string | undefined): unknown {
  const { not_kept: _notKept, debconf_selections: _none, ...fields } = kept;
  const { ticketId: ticket_id, progressTrigger: progress_trigger } = build;
  return { ticket_id, progress_trigger, ...fields, callback_url: callbackUrl ?? kept.callback_url };
}

const reasons: Readonly<Record<KeptRequest['not_kept'][number]['reason'], string>> = {
  secret: 'is not known whole any more, since it may hold a secret',
  size: 'is not known whole any more, since the request is larger than what is kept of one',
};

function unrepeatable(buildId: string, missing: KeptRequest['not_kept']): ImageBuilderError {
  const faults = missing.map(({ path, reason }) => ({ path, message: reasons[reason] }));
  const [first] = faults;
  const more = faults.length > 1 ? ` (and ${faults.length - 1} more)` : '';
  const what = first === undefined ? '' : `${first.path} ${first.message}${more}`;
  return new ImageBuilderError(
    'build.unrepeatable',
    `the request of the build ${buildId} cannot be repeated, so submit it again: ${what}`,
    { faults },
  );
}

function invalid(what: string, faults: readonly RequestFault[]): ImageBuilderError {
  const list = faults.map(({ path, message }) => `${path} ${message}`).join('; ');
  return new ImageBuilderError('request.invalid', `${what} has faults: ${list}`, { faults });
}
