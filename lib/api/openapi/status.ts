import { exampleStatus } from '../examples.ts';
import type { Json } from '../json-schemas.ts';
import { exampleBuild } from '../status.ts';
import { commonErrors, json, problem, retryAfter } from './parts.ts';

/** The paths of the function `status`. `suffix` ends the names of their operations. */

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

export function statusPath(suffix: string): Json {
  return {
    get: {
      operationId: `getStatus${suffix}`,
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

export function eventsPath(suffix: string): Json {
  return {
    get: {
      operationId: `followStatus${suffix}`,
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

export function pagePath(suffix: string): Json {
  return {
    get: {
      operationId: `getPage${suffix}`,
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

export function documentPath(operationId: string, summary: string): Json {
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
