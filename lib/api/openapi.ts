import { Cursor, defaultPage, largestPage } from './build-list.ts';
import { callbackHeaders } from './callback-headers.ts';
import { BuildState } from './event.ts';
import { exampleEvents } from './example-events.ts';
import {
  exampleAccepted,
  exampleCancelAccepted,
  exampleImagePage,
  examplePage,
  exampleRequest,
  exampleRetried,
  exampleStatus,
  exampleWholeBuild,
} from './examples.ts';
import { defaultImagePage, exampleStoredBuild, largestImagePage } from './image-list.ts';
import { type Json, reference, requestSchema, sentSchemas } from './json-schemas.ts';
import { exampleBuild } from './status.ts';

/** The OpenAPI 3.1 description of the API, made from the schemas that check it. */

export interface OpenApiOptions {
  readonly version: string;
  /** How callers reach the API; empty: the same server that the description comes from. */
  readonly serverUrl: string;
}

/** The document, as JSON. */
export function openApiDocument(options: OpenApiOptions): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Image Builder',
      version: options.version,
      summary: 'Rebuilds operating-system images with PPAs and packages.',
      description:
        'Errors are RFC 9457 problems; `code` names the error. Events go to the exchange that a request names as its `progress_trigger`, as JSON after the schema BuildEvent: `/api/v1/asyncapi.json` describes them. Answers and events may get further fields: pass over those that you do not know.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: options.serverUrl === '' ? '/' : options.serverUrl }],
    security: [{}, { token: [] }],
    paths: {
      '/api/v1/build_image/': submitPath('submitBuild'),
      '/api/v1/build_image/{build_id}': buildPath(''),
      '/api/v1/build_image/{build_id}/retry': retryPath(''),
      '/api/v1/build_image/{build_id}/log': logPath(''),
      ...imagePaths('/api/v1/images/', ''),
      '/api/v1/imagebuilder/status': statusPath('getStatus'),
      '/api/v1/imagebuilder/status/events': eventsPath('followStatus'),
      '/api/v1/imagebuilder/': pagePath('getPage'),
      '/api/v1/openapi.json': documentPath('getOpenApi', 'This document.'),
      '/api/v1/asyncapi.json': documentPath('getAsyncApi', 'Events and callbacks, as an AsyncAPI 3.0 document.'),
      '/function/build-image': submitPath('submitBuildByFunction'),
      '/function/build-image/{build_id}': buildPath('ByFunction'),
      '/function/build-image/{build_id}/retry': retryPath('ByFunction'),
      '/function/build-image/{build_id}/log': logPath('ByFunction'),
      ...imagePaths('/function/images/', 'ByFunction'),
      '/function/status': statusPath('getStatusByFunction'),
      '/function/status/events': eventsPath('followStatusByFunction'),
      '/function/status/page': pagePath('getPageByFunction'),
      '/function/status/openapi.json': documentPath('getOpenApiByFunction', 'This document.'),
      '/function/status/asyncapi.json': documentPath(
        'getAsyncApiByFunction',
        'Events and callbacks, as an AsyncAPI 3.0 document.',
      ),
    },
    webhooks: { buildEnded: { post: callback } },
    components: { schemas: { ...sentSchemas('draft-2020-12'), BuildRequest: requestSchema() }, securitySchemes },
  };
}

const callback = {
  operationId: 'buildEnded',
  summary: 'The last event of a build, to the callback URL of its request.',
  description:
    'All other events of a build have the same schema and go to the AMQP exchange that its request names; `/api/v1/asyncapi.json` describes both ways.',
  // A receiver checks the signature; no token of the API is sent.
  security: [],
  parameters: Object.entries(callbackHeaders).map(([name, header]) => ({
    ...{ name, in: 'header', ...header, schema: { type: 'string' } },
  })),
  requestBody: {
    required: true,
    description: 'The event.',
    content: {
      'application/json': {
        schema: reference('BuildEvent'),
        examples: Object.fromEntries(
          [exampleEvents.completed, exampleEvents.failed, exampleEvents.cancelled].map((event) => [
            event.state,
            { value: event },
          ]),
        ),
      },
    },
  },
  responses: {
    '2XX': { description: 'Taken.' },
    '408': {
      description: 'As 425, 429 and 5XX, and as no answer within ten seconds: the call is made again for some minutes.',
    },
    default: { description: 'Refused: the call is not made again.' },
  },
};
const securitySchemes = {
  token: {
    type: 'http',
    scheme: 'bearer',
    description:
      'The token of a caller, whose role is submit (submits builds, sees and cancels its own), read (sees all builds) or operate (all of it). No token is needed where the service has none.',
  },
};
const json = (name: string, example?: unknown) => ({
  'application/json': { schema: reference(name), ...(example === undefined ? {} : { example }) },
});
const problem = (description: string, headers?: Json) => ({
  description,
  ...(headers === undefined ? {} : { headers }),
  content: { 'application/problem+json': { schema: reference('Problem') } },
});
const retryAfter = {
  'Retry-After': { description: 'Seconds after which to try again.', example: 5, schema: { type: 'integer' } },
};
const commonErrors = {
  '401': problem('The service has tokens, and the call carries none of them.', {
    'WWW-Authenticate': {
      description: 'How to send the token.',
      example: 'Bearer realm="imagebuilder"',
      schema: { type: 'string' },
    },
  }),
  '405': problem('The method is not allowed here.', {
    Allow: { description: 'The methods that are.', example: 'GET, DELETE', schema: { type: 'string' } },
  }),
  '421': problem('Only from `imagebuilder serve`: it does not know itself by the name in the header `Host`.'),
  '500': problem('An unexpected error.'),
  '503': problem('RabbitMQ is out of reach.', retryAfter),
};
const buildId = {
  ...{ name: 'build_id', in: 'path', required: true, description: 'The build.', example: exampleBuild.build_id },
  schema: { type: 'string', format: 'uuid' },
};

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
];

function submitPath(operationId: string): Json {
  return {
    get: listOperation(operationId.replace('submitBuild', 'listBuilds')),
    post: {
      operationId,
      summary: 'Submit a build.',
      parameters: callParameters,
      requestBody: { required: true, description: 'The build.', content: json('BuildRequest', exampleRequest) },
      responses: {
        '202': { description: 'Accepted: a new build.', content: json('Accepted', exampleAccepted) },
        '200': {
          description: 'The same request is in work already, as this build.',
          content: json('Accepted', exampleAccepted),
        },
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

const queryParameter = (name: string, description: string, example: unknown, schema: Json) => ({
  ...{ name, in: 'query', description, example, schema },
});

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

function retryPath(suffix: string): Json {
  return {
    parameters: [buildId],
    post: {
      operationId: `retryBuild${suffix}`,
      summary: 'Submit the request of a build that has ended again, as a new build of the same caller. No body.',
      parameters: callParameters,
      responses: {
        '202': { description: 'Accepted: a new build.', content: json('Accepted', exampleRetried) },
        '200': {
          description: 'The request is in work again already, as this build.',
          content: json('Accepted', exampleRetried),
        },
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

function logPath(suffix: string): Json {
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
        parameter('Range', 'header', 'Only these bytes of the text. One range; `bytes=N-` goes on.', 'bytes=4096-'),
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
          description: 'The log, as gzip, of a build that has ended.',
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

function buildPath(suffix: string): Json {
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

/** The paths of what the store has; their function asks RabbitMQ only before it deletes. */
function imagePaths(root: string, suffix: string): Json {
  const common = { ...commonErrors, '502': problem('The store fails, or refuses the request.') };
  const notFound = problem('The store has nothing of such a build, or the build is another caller’s.');
  const cursor = Cursor.encode([exampleStoredBuild.stored_at, exampleStoredBuild.build_id]);
  const limit = { type: 'integer', minimum: 1, maximum: largestImagePage, default: defaultImagePage };
  return {
    [root]: {
      get: {
        operationId: `listImages${suffix}`,
        summary: 'The images in the store that the caller may see, and builds with other files only; the newest first.',
        parameters: [
          queryParameter('limit', 'Most entries of the page.', 20, limit),
          queryParameter('cursor', '`next_cursor` of the page before.', cursor, { type: 'string' }),
        ],
        responses: {
          '200': { description: 'The page.', content: json('ImagePage', exampleImagePage) },
          '400': problem('The query has faults.'),
          ...common,
        },
      },
    },
    [`${root}{build_id}`]: {
      parameters: [buildId],
      get: {
        operationId: `getImage${suffix}`,
        summary: 'Everything that the store has of one build.',
        responses: {
          '200': { description: 'The build.', content: json('StoredBuildReport', exampleStoredBuild) },
          '404': notFound,
          ...common,
        },
      },
      delete: {
        operationId: `deleteImage${suffix}`,
        summary: 'Delete the image of a build, and the files beside it and the log too.',
        responses: {
          '204': { description: 'All of it is deleted.' },
          '403': problem('The token is for reading only.'),
          '404': notFound,
          '409': problem('The build has not ended yet.'),
          ...common,
        },
      },
    },
  };
}

const statusParameters = [
  {
    name: 'ticket_id',
    in: 'query',
    description: 'Only builds of this ticket.',
    example: exampleBuild.ticket_id,
    schema: { type: 'string', minLength: 1, maxLength: 256 },
  },
  {
    name: 'build_id',
    in: 'query',
    description: 'Only this build, with the newest lines of its log.',
    example: exampleBuild.build_id,
    schema: { type: 'string', format: 'uuid' },
  },
];
const statusErrors = {
  '400': problem('The query has faults.'),
  '404': problem('The build asked for is not known, or it is another caller’s.'),
  ...commonErrors,
};

function statusPath(operationId: string): Json {
  return {
    get: {
      operationId,
      summary: 'The state of the builder, the running builds that the caller may see, and the newest of the others.',
      parameters: statusParameters,
      responses: {
        '200': {
          description:
            'While RabbitMQ is out of reach, `status` is `degraded` and the builds are the last known. It is so, too, while no living worker can build.',
          content: json('Status', exampleStatus),
        },
        ...statusErrors,
      },
    },
  };
}

function eventsPath(operationId: string): Json {
  return {
    get: {
      operationId,
      summary: 'The status as server-sent events.',
      description:
        'Send `Accept: text/event-stream`. An event `status` has the status document as its data: at once, and then at most once a second when something but the time has changed. An event `problem` has a problem. The stream ends by itself within 25 seconds: open the next one then.',
      parameters: statusParameters,
      responses: {
        '200': { description: 'The stream.', content: { 'text/event-stream': { schema: { type: 'string' } } } },
        '429': problem('Too many streams are open.', retryAfter),
        ...statusErrors,
      },
    },
  };
}

function pagePath(operationId: string): Json {
  return {
    get: {
      operationId,
      summary: 'The live page, for browsers. Its files are at `page/…` beside it.',
      // It holds no data: the page asks for the token.
      security: [],
      responses: {
        '200': { description: 'The page.', content: { 'text/html': { schema: { type: 'string' } } } },
        '405': commonErrors['405'],
      },
    },
  };
}

function documentPath(operationId: string, summary: string): Json {
  return {
    get: {
      operationId,
      summary,
      // Readable without a token.
      security: [],
      responses: {
        '200': { description: 'The document.', content: { 'application/json': { schema: { type: 'object' } } } },
        '405': commonErrors['405'],
      },
    },
  };
}
