import { callbackHeaders } from '../callback-headers.ts';
import { exampleEvents } from '../example-events.ts';
import { type Json, reference, requestSchema, sentSchemas } from '../json-schemas.ts';
import { buildPath, logPath, retryPath, submitPath } from './build-image.ts';
import { imagePaths } from './images.ts';
import { documentPath, eventsPath, pagePath, statusPath } from './status.ts';

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
      '/api/v1/build_image/': submitPath(''),
      '/api/v1/build_image/{build_id}': buildPath(''),
      '/api/v1/build_image/{build_id}/retry': retryPath(''),
      '/api/v1/build_image/{build_id}/log': logPath(''),
      ...imagePaths('/api/v1/images/', ''),
      '/api/v1/imagebuilder/status': statusPath(''),
      '/api/v1/imagebuilder/status/events': eventsPath(''),
      '/api/v1/imagebuilder/': pagePath(''),
      '/api/v1/openapi.json': documentPath('getOpenApi', 'This document.'),
      '/api/v1/asyncapi.json': documentPath('getAsyncApi', 'Events and callbacks, as an AsyncAPI 3.0 document.'),
      '/function/build-image': submitPath('ByFunction'),
      '/function/build-image/{build_id}': buildPath('ByFunction'),
      '/function/build-image/{build_id}/retry': retryPath('ByFunction'),
      '/function/build-image/{build_id}/log': logPath('ByFunction'),
      ...imagePaths('/function/images/', 'ByFunction'),
      '/function/status': statusPath('ByFunction'),
      '/function/status/events': eventsPath('ByFunction'),
      '/function/status/page': pagePath('ByFunction'),
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
