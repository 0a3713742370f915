import { exampleArtifacts } from '../artifact-report.ts';
import { Cursor } from '../build-list.ts';
import { exampleImagePage } from '../examples.ts';
import { defaultImagePage, exampleStoredBuild, largestImagePage } from '../image-list.ts';
import type { Json } from '../json-schemas.ts';
import { buildId, commonErrors, json, problem, queryParameter, rangeHeader, retryAfter } from './parts.ts';

/** The paths of what the store has; their function asks RabbitMQ only before it deletes. */
export function imagePaths(root: string, suffix: string): Json {
  const common = { ...commonErrors, '502': problem('The store fails, or refuses the request.') };
  const notFound = problem('The store has nothing of such a build, or the build is another caller’s.');
  const [file = { name: '', media_type: '' }] = exampleArtifacts;
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
    [`${root}{build_id}/files/{name}`]: {
      parameters: [
        buildId,
        {
          ...{ name: 'name', in: 'path', required: true },
          ...{ description: '`name` of one of the `artifacts`.', example: file.name, schema: { type: 'string' } },
        },
      ],
      get: {
        operationId: `getImageFile${suffix}`,
        summary: 'A file beside the image of a build.',
        responses: {
          '200': {
            description: 'The file, where the store is a folder of this machine.',
            content: { [file.media_type]: { schema: { type: 'string' } } },
          },
          '307': { description: 'The file is elsewhere: `Location` says where.' },
          '404': notFound,
          ...common,
        },
      },
    },
    [`${root}{build_id}/log`]: {
      parameters: [buildId],
      get: {
        operationId: `getStoredLog${suffix}`,
        summary: 'The log of a build in the store, as text, or as server-sent events that end.',
        parameters: [
          queryParameter('follow', 'Sends events, as `Accept: text/event-stream` does.', '1', { type: 'string' }),
          rangeHeader,
        ],
        responses: {
          '200': {
            description: 'The whole text, or its lines as events.',
            content: {
              'text/plain': { schema: { type: 'string' } },
              'text/event-stream': { schema: { type: 'string' } },
            },
          },
          '206': {
            description: 'The part of the text that the header `Range` asks for.',
            content: { 'text/plain': { schema: { type: 'string' } } },
          },
          '400': problem('The query has faults.'),
          '404': notFound,
          '416': problem('The text has no such part.'),
          '429': problem('As many logs are being read as this function takes at a time.', retryAfter),
          ...common,
        },
      },
    },
  };
}
