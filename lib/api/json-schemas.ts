import { z } from 'zod';
import { ArtifactReport } from './artifact-report.ts';
import { AttemptReport } from './attempt.ts';
import { BuildPage } from './build-list.ts';
import { BuildErrorReport, BuildEvent, GuestReport, StepTimes } from './event.ts';
import { ImagePage, StoredBuildReport } from './image-list.ts';
import { BaseImageReport, ImageResult } from './image-result.ts';
import { KeptRequest } from './kept-request.ts';
import { Problem } from './problem.ts';
import { BuildRequest } from './request.ts';
import { Accepted, BuildStatus, CancelAccepted, Status } from './status.ts';

/** JSON Schemas of everything that crosses the API, made from the zod schemas that check it. */

export type Json = { readonly [key: string]: unknown };

/** The schemas of all that Image Builder sends: answers, events, callbacks. */
const sent = {
  ...{ Accepted, BaseImageReport, BuildErrorReport, BuildEvent, BuildPage, BuildStatus, CancelAccepted, GuestReport },
  ...{ ArtifactReport, AttemptReport, ImageResult, KeptRequest, Problem, Status, StepTimes },
  ...{ ImagePage, StoredBuildReport },
};
export type SentName = keyof typeof sent;

/** The dialect of JSON Schema: OpenAPI 3.1 takes the newest, AsyncAPI 3.0 draft 7. */
export type Dialect = 'draft-2020-12' | 'draft-7';

/** Reference to a schema of `components.schemas`. */
export const reference = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/**
 * The schemas of what is sent, by name, with references to each other. Objects may have further members, so that a
 * caller who checks them still takes those of a later version.
 */
export function sentSchemas(target: Dialect): Record<SentName, Json> {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(sent)) registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, {
    uri: (id) => reference(id).$ref,
    io: 'output',
    target,
    override({ jsonSchema }) {
      if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
    },
  });
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, bare(schema)])) as Record<
    SentName,
    Json
  >;
}

/** The schema of a request, as callers write it: only what has no default is required, and nothing unknown is taken. */
export function requestSchema(): Json {
  return bare(
    z.toJSONSchema(BuildRequest, {
      io: 'input',
      // zod leaves out examples and defaults where the schema transforms its input. The examples of field() are as they are
      // sent, and an empty list is the same before and after.
      override({ zodSchema, jsonSchema }) {
        const { def } = zodSchema._zod;
        const examples = z.globalRegistry.get(zodSchema)?.examples;
        if (Array.isArray(examples)) jsonSchema.examples = examples;
        if (def.type !== 'default') return;
        const value = (def as z.core.$ZodDefaultDef).defaultValue;
        if (Array.isArray(value) && value.length === 0) jsonSchema.default = [];
      },
    }),
  );
}

function bare({ $schema: _dialect, $id: _id, ...schema }: z.core.JSONSchema.BaseSchema): Json {
  return schema;
}
