import { z } from 'zod';
import { BaseImageReport, BuildErrorReport, BuildEvent, GuestReport, ImageResult } from './event.ts';
import { exampleAccepted, exampleRequest, exampleStatus } from './examples.ts';
import { Problem } from './problem.ts';
import { BuildRequest } from './request.ts';
import { Accepted, BuildStatus, Status } from './status.ts';

/** The OpenAPI 3.1 description of the API, made from the schemas that check it. */

export interface OpenApiOptions {
  readonly version: string;
  /** How callers reach the API; empty: the same server that the description comes from. */
  readonly serverUrl: string;
}

const CancelAccepted = z.object({
  cancelling: z.literal(true),
  build_id: z.uuid(),
  ticket_id: z.union([z.string(), z.int()]),
});

type Json = { readonly [key: string]: unknown };

/** The document, as JSON. */
export function openApiDocument(options: OpenApiOptions): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Image Builder',
      version: options.version,
      summary: 'Rebuilds operating-system images with PPAs and packages.',
      description:
        'Errors are RFC 9457 problems; `code` names the error. Events go to the exchange that a request names as its `progress_trigger`, as JSON after the schema BuildEvent.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: options.serverUrl === '' ? '/' : options.serverUrl }],
    security: [{}, { token: [] }],
    paths: {
      '/api/v1/build_image/': submitPath('submitBuild'),
      '/api/v1/build_image/{build_id}': buildPath(''),
      '/api/v1/imagebuilder/status': statusPath('getStatus'),
      '/function/build-image': submitPath('submitBuildByFunction'),
      '/function/build-image/{build_id}': buildPath('ByFunction'),
      '/function/status': statusPath('getStatusByFunction'),
    },
    webhooks: {
      buildEnded: {
        post: {
          operationId: 'buildEnded',
          summary: 'The last event of a build, to the callback URL of its request.',
          parameters: ['X-Call-Id', 'X-Function-Name', 'X-Function-Status', 'X-Duration-Seconds'].map((name) => ({
            name,
            in: 'header',
            required: true,
            schema: { type: 'string' },
          })),
          requestBody: { required: true, content: json('BuildEvent') },
          responses: { '2XX': { description: 'Taken. Anything else is tried again for some minutes.' } },
        },
      },
    },
    components: { schemas: schemas(), securitySchemes },
  };
}

const securitySchemes = {
  token: {
    type: 'http',
    scheme: 'bearer',
    description:
      'The token of a caller, whose role is submit (submits builds, sees and cancels its own), read (sees all builds) or operate (all of it). No token is needed where the service has none.',
  },
};
const reference = (name: string) => ({ $ref: `#/components/schemas/${name}` });
const json = (name: string, example?: unknown) => ({
  'application/json': { schema: reference(name), ...(example === undefined ? {} : { example }) },
});
const problem = (description: string, headers?: Json) => ({
  description,
  ...(headers === undefined ? {} : { headers }),
  content: { 'application/problem+json': { schema: reference('Problem') } },
});
const retryAfter = { 'Retry-After': { schema: { type: 'integer' }, description: 'seconds' } };
const commonErrors = {
  '401': problem('The service has tokens, and the call carries none of them.'),
  '405': problem('The method is not allowed here.', { Allow: { schema: { type: 'string' } } }),
  '500': problem('An unexpected error.'),
  '503': problem('RabbitMQ is out of reach.', retryAfter),
};
const buildId = { name: 'build_id', in: 'path', required: true, schema: { type: 'string', format: 'uuid' } };

function submitPath(operationId: string): Json {
  return {
    post: {
      operationId,
      summary: 'Submit a build.',
      parameters: [
        {
          name: 'X-Callback-Url',
          in: 'header',
          description: 'Gets the last event of the build in one POST. Wins over `callback_url` of the body.',
          schema: { type: 'string', format: 'uri' },
        },
        {
          name: 'X-Call-Id',
          in: 'header',
          description: 'Comes back in the callback.',
          schema: { type: 'string', maxLength: 256 },
        },
      ],
      requestBody: { required: true, content: json('BuildRequest', exampleRequest) },
      responses: {
        '202': { description: 'Accepted: a new build.', content: json('Accepted', exampleAccepted) },
        '200': {
          description: 'The same request is in work already, as this build.',
          content: json('Accepted', exampleAccepted),
        },
        '400': problem('The body is not JSON, or the request has faults: `faults` names all of them.'),
        '403': problem('The token is for reading only.'),
        '409': problem('Another request with the same ticket_id and progress_trigger is in work.'),
        '408': problem('The body did not come in time.'),
        '413': problem('The body is too large.'),
        '415': problem('The body is not said to be `application/json`.'),
        '429': problem('The caller has reached one of its limits.', retryAfter),
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
      summary: 'One build, with the newest lines of its log.',
      responses: {
        '200': { description: 'The build.', content: json('BuildStatus') },
        '404': problem('No such build is known, or it is another caller’s.'),
        ...commonErrors,
      },
    },
    delete: {
      operationId: `cancelBuild${suffix}`,
      summary: 'Cancel a build.',
      responses: {
        '202': { description: 'The build is being cancelled.', content: json('CancelAccepted') },
        '403': problem('The token is for reading only.'),
        '404': problem('No such build is known, or it is another caller’s.'),
        '409': problem('The build has already ended.'),
        ...commonErrors,
      },
    },
  };
}

function statusPath(operationId: string): Json {
  return {
    get: {
      operationId,
      summary: 'The state of the builder, and of running, queued and recently finished builds that the caller may see.',
      parameters: [
        { name: 'ticket_id', in: 'query', description: 'Only builds of this ticket.', schema: { type: 'string' } },
        {
          name: 'build_id',
          in: 'query',
          description: 'Only this build, with the newest lines of its log.',
          schema: { type: 'string', format: 'uuid' },
        },
      ],
      responses: {
        '200': {
          description: 'While RabbitMQ is out of reach, `status` is `degraded` and the builds are the last known.',
          content: json('Status', exampleStatus),
        },
        '400': problem('The query has faults.'),
        '404': problem('The build asked for is not known, or it is another caller’s.'),
        ...commonErrors,
      },
    },
  };
}

/** Every schema as a component. A request is described as callers write it, everything else as it is sent. */
function schemas(): Json {
  const sent = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries({
    Accepted,
    BaseImageReport,
    BuildErrorReport,
    BuildEvent,
    BuildStatus,
    CancelAccepted,
    GuestReport,
    ImageResult,
    Problem,
    Status,
  })) {
    sent.add(schema, { id });
  }
  const uri = (id: string) => `#/components/schemas/${id}`;
  const written = z.toJSONSchema(BuildRequest, { io: 'input' });
  const all: Record<string, Json> = { ...z.toJSONSchema(sent, { uri, io: 'output' }).schemas, BuildRequest: written };
  return Object.fromEntries(
    Object.entries(all).map(([name, { $schema: _dialect, $id: _id, ...schema }]) => [name, schema]),
  );
}
