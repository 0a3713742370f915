import { type Json, reference } from '../json-schemas.ts';
import { exampleBuild } from '../status.ts';

/** Parts that the descriptions of several paths share. */

export const json = (name: string, example?: unknown) => ({
  'application/json': { schema: reference(name), ...(example === undefined ? {} : { example }) },
});
export const problem = (description: string, headers?: Json) => ({
  description,
  ...(headers === undefined ? {} : { headers }),
  content: { 'application/problem+json': { schema: reference('Problem') } },
});
export const retryAfter = {
  'Retry-After': { description: 'Seconds after which to try again.', example: 5, schema: { type: 'integer' } },
};
export const commonErrors = {
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
export const buildId = {
  ...{ name: 'build_id', in: 'path', required: true, description: 'The build.', example: exampleBuild.build_id },
  schema: { type: 'string', format: 'uuid' },
};
export const queryParameter = (name: string, description: string, example: unknown, schema: Json) => ({
  ...{ name, in: 'query', description, example, schema },
});

export const rangeHeader = {
  ...{ name: 'Range', in: 'header', description: 'Only these bytes of the text. One range; `bytes=N-` goes on.' },
  ...{ example: 'bytes=4096-', schema: { type: 'string' } },
};
