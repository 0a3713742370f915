import { Cursor, defaultPage, largestPage } from '../build-list.ts';
import { callbackHeaders } from '../callback-headers.ts';
import { BuildState } from '../event.ts';
import {
  exampleAccepted,
  exampleCancelAccepted,
  examplePage,
  exampleRequest,
  exampleRetried,
  exampleWholeBuild,
} from '../examples.ts';
import type { Json } from '../json-schemas.ts';
import { exampleBuild } from '../status.ts';
import { buildId, commonErrors, json, problem, queryParameter, rangeHeader, retryAfter } from './parts.ts';

/** The paths of the function `build-image`. `suffix` ends the names of their operations. */

const callParameters = [
  {
    name: 'X-Callback-Url',
    in: 'header',
    description: 'Gets the last event of the build in one POST. Wins over `callback_url` of the request.',
    example: 'https://lander.example.org/builds/T-77',
    schema: { type: 'string', format: 'uri', maxLength: 2048 },
  },
  {
    name: 'X-Call-Id',
    in: 'header',
    description: 'Comes back in the callback.',
    example: callbackHeaders['X-Call-Id'].example,
    schema: { type: 'string', maxLength: 256 },
  },
  {
    name: 'traceparent',
    in: 'header',
    description:
      'The caller’s place in a trace (W3C Trace Context). The build belongs to that trace; without a valid one, to a new trace.',
    example: '00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01',
    schema: { type: 'string' },
  },
  {
    name: 'tracestate',
    in: 'header',
    description: 'Comes back with events and callback, where it is valid and has at most 512 characters.',
    example: callbackHeaders.tracestate.example,
    schema: { type: 'string' },
  },
];
/** Of an answer to a submission or retry. */
const traceOfBuild = {
  traceparent: {
    description: 'The operation that has submitted the build: this call, or the earlier one that it repeats.',
    example: callbackHeaders.traceparent.example,
    schema: { type: 'string' },
  },
};
const accepted = (description: string, example: unknown) => ({
  ...{ description, headers: traceOfBuild, content: json('Accepted', example) },
});

export function submitPath(suffix: string): Json {
  return {
    get: listOperation(`listBuilds${suffix}`),
    post: {
      operationId: `submitBuild${suffix}`,
      summary: 'Submit a build.',
      parameters: callParameters,
      requestBody: { required: true, description: 'The build.', content: json('BuildRequest', exampleRequest) },
      responses: {
        '202': accepted('Accepted: a new build.', exampleAccepted),
        '200': accepted('The same request is in work already, as this build.', exampleAccepted),
        '400': problem(
          'The body is empty, not UTF-8 or no JSON object, or the request has faults: `faults` names all of them.',
        ),
        '403': problem('The token is for reading only.'),
        '409': problem('Another request with the same ticket_id and progress_trigger is in work.'),
        '408': problem('The body did not come in time.'),
        '413': problem('The body is too large.'),
        '415': problem('The header `Content-Type` does not say that the body is JSON.'),
        '429': problem('The caller has reached one of its limits.', retryAfter),
        ...commonErrors,
      },
    },
  };
}

function listOperation(operationId: string): Json {
  const limit = { type: 'integer', minimum: 1, maximum: largestPage, default: defaultPage };
  const cursor = Cursor.encode([exampleBuild.queued_at, exampleBuild.build_id]);
  return {
    operationId,
    summary: 'The builds that the caller may see, page by page, the newest submission first.',
    parameters: [
      queryParameter('limit', 'Most builds of the page; builds with many packages make a page smaller.', 20, limit),
      queryParameter('cursor', '`next_cursor` of the page before.', cursor, { type: 'string' }),
      queryParameter('state', 'Only builds in this state.', 'failed', { type: 'string', enum: BuildState.options }),
      queryParameter('ticket_id', 'Only builds of this ticket.', exampleBuild.ticket_id, { type: 'string' }),
      queryParameter('series', 'Only builds of this series.', exampleBuild.series, { type: 'string' }),
    ],
    responses: {
      '200': { description: 'The page.', content: json('BuildPage', examplePage) },
      '400': problem('The query has faults.'),
      ...commonErrors,
    },
  };
}

export function retryPath(suffix: string): Json {
  return {
    parameters: [buildId],
    post: {
      operationId: `retryBuild${suffix}`,
      summary: 'Submit the request of a build that has ended again, as a new build of the same caller. No body.',
      parameters: callParameters,
      responses: {
        '202': accepted('Accepted: a new build.', exampleRetried),
        '200': accepted('The request is in work again already, as this build.', exampleRetried),
        '400': problem('There is a body with anything in it, or a header has a fault.'),
        '415': problem('There is a body, and it is not said to be `application/json`.'),
        '403': problem('The token is for reading only.'),
        '404': problem('No such build is known, or it is another caller’s.'),
        '409': problem(
          'The build has not ended (`build.unfinished`); its request is not known whole (`build.unrepeatable`, and `faults` names the fields); another request with its ticket_id and progress_trigger is in work (`request.conflict`).',
        ),
        '429': problem('The caller whose build it is has reached one of its limits.', retryAfter),
        ...commonErrors,
      },
    },
  };
}

const exampleLog = '2026-10-01T12:00:31.402Z install Setting up hello (2.10-3)\n';

export function logPath(suffix: string): Json {
  const text = { 'text/plain': { schema: { type: 'string' }, example: exampleLog } };
  const parameter = (name: string, where: string, description: string, example: string) => ({
    ...{ name, in: where, description, example, schema: { type: 'string' } },
  });
  return {
    parameters: [buildId],
    get: {
      operationId: `getLog${suffix}`,
      summary: 'The log of a build: of one that runs, everything so far.',
      parameters: [
        parameter(
          'follow',
          'query',
          'The lines as they come, as server-sent events, until the build has ended. So is the answer to a call that accepts `text/event-stream`.',
          'true',
        ),
        rangeHeader,
        parameter('Last-Event-ID', 'header', 'With `follow`: go on after this event.', '4096'),
      ],
      responses: {
        '200': {
          description:
            'The text. With `follow`, one event for each line, whose `id` is the byte of the text after it; the event `end` has the `build_id` and the `state` of the build that has ended as JSON.',
          content: {
            ...text,
            'text/event-stream': {
              schema: { type: 'string' },
              example: `id: ${exampleLog.length}\ndata: ${exampleLog}\n`,
            },
          },
        },
        '206': { description: 'The part of the text that the header `Range` asks for.', content: text },
        '307': {
          description:
            'The log, as gzip, of a build that has ended; with `follow` or `Range`, where the store sends it as events, or as text.',
          headers: {
            Location: {
              description: 'Its place in the store.',
              example: 'https://swift.example.org/v1/AUTH_1/images/logs/x.log.gz',
              schema: { type: 'string', format: 'uri' },
            },
          },
        },
        '400': problem('The query has faults.'),
        '404': problem('No such build is known, or it is another caller’s.'),
        '416': problem('The text has no such part.'),
        '429': problem('As many logs are being followed as this function takes at a time.', retryAfter),
        ...commonErrors,
      },
    },
  };
}

export function buildPath(suffix: string): Json {
  return {
    parameters: [buildId],
    get: {
      operationId: `getBuild${suffix}`,
      summary: 'One build, with its request, attempts, times of its steps, and the newest lines of its log.',
      responses: {
        '200': { description: 'The build.', content: json('BuildStatus', exampleWholeBuild) },
        '404': problem('No such build is known, or it is another caller’s.'),
        ...commonErrors,
      },
    },
    delete: {
      operationId: `cancelBuild${suffix}`,
      summary: 'Cancel a build.',
      responses: {
        '202': { description: 'The build is being cancelled.', content: json('CancelAccepted', exampleCancelAccepted) },
        '403': problem('The token is for reading only.'),
        '404': problem('No such build is known, or it is another caller’s.'),
        '409': problem('The build has already ended.'),
        ...commonErrors,
      },
    },
  };
}
