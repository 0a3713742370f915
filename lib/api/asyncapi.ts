import { z } from 'zod';
import { callbackHeaders } from './callback-headers.ts';
import { type BuildEvent, BuildState, isTerminal } from './event.ts';
import { EventHeaders } from './event-headers.ts';
import { exampleEvents } from './example-events.ts';
import { type Json, reference, type SentName, sentSchemas } from './json-schemas.ts';

/** The AsyncAPI 3.0 description of the events and the callback, made from the schemas that check them. */

/** Schemas that an event is made of. */
const ofEvents: readonly SentName[] = [
  ...([
    'ArtifactReport',
    'BaseImageReport',
    'BuildErrorReport',
    'BuildEvent',
    'GuestReport',
    'ImageResult',
    'StepTimes',
  ] as const),
];

/** The document, as JSON. */
export function asyncApiDocument({ version }: { readonly version: string }): Json {
  const schemas = sentSchemas('draft-7');
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Image Builder',
      version,
      description:
        'The events of a build, to the AMQP exchange and the callback URL that its request names. `/api/v1/openapi.json` describes the calls. Events may get further fields: pass over those that you do not know.',
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    defaultContentType: 'application/json',
    channels: { events: eventsChannel, callback: callbackChannel },
    operations: {
      sendEvent: {
        action: 'send',
        channel: { $ref: '#/channels/events' },
        summary: 'Every event of a build.',
        messages: BuildState.options.map((state) => ({ $ref: `#/channels/events/messages/${state}` })),
        bindings: {
          amqp: {
            cc: ['imagebuilder.ticket.{ticket_id}', 'imagebuilder.build.{build_id}'],
            deliveryMode: 2,
            timestamp: true,
            bindingVersion: '0.3.0',
          },
        },
      },
      postCallback: {
        action: 'send',
        channel: { $ref: '#/channels/callback' },
        summary: 'The last event of a build.',
        description:
          'No answer within ten seconds, 408, 425, 429 and 5xx are tried again with growing pauses. An answer below 300 is the receipt.',
        messages: [{ $ref: '#/channels/callback/messages/ended' }],
        bindings: { http: { method: 'POST', bindingVersion: '0.3.0' } },
      },
    },
    components: {
      messages: { ...Object.fromEntries(BuildState.options.map((state) => [state, eventMessage(state)])), ended },
      schemas: Object.fromEntries(ofEvents.map((name) => [name, schemas[name]])),
    },
  };
}

const eventsChannel = {
  address: 'imagebuilder.{state}',
  title: 'Events',
  description:
    'The exchange of the request’s `progress_trigger`; the address is the routing key. The exchange is the caller’s, of any type: make a durable topic exchange where you are free to choose. Where there is no exchange but a queue of that name, the queue gets the events.',
  parameters: {
    state: { description: 'The state of the build.', enum: BuildState.options, location: '$message.payload#/state' },
  },
  messages: messagesOf(BuildState.options),
  bindings: {
    amqp: { is: 'routingKey', exchange: { type: 'topic', durable: true, autoDelete: false }, bindingVersion: '0.3.0' },
  },
};

const callbackChannel = {
  // Each request names its own.
  address: null,
  title: 'Callback',
  description: 'The URL of the request’s `callback_url`, or of the header `X-Callback-Url` of its submission.',
  messages: messagesOf(['ended']),
};

function messagesOf(names: readonly string[]): Json {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/messages/${name}` }]));
}

const summaries: Readonly<Record<BuildState, string>> = {
  queued: 'The build waits for a worker; also again, when a worker has given it back.',
  running: 'A worker has the build. At least one comes in every interval of the heartbeat, a minute at most.',
  completed: 'The image is in the store. The last event of the build.',
  failed: 'The build has failed. Its last event.',
  cancelled: 'The build was cancelled. Its last event.',
};

/** The member that an event of each state always has. */
const partOf: Readonly<Record<BuildState, readonly (keyof BuildEvent)[]>> = {
  queued: [],
  running: [],
  completed: ['image'],
  failed: ['error'],
  cancelled: ['error'],
};

function eventMessage(state: BuildState): Json {
  const event = exampleEvents[state];
  return {
    name: `imagebuilder.${state}`,
    title: `A build is ${state}`,
    summary: summaries[state],
    headers: headersSchema(),
    payload: {
      allOf: [
        reference('BuildEvent'),
        { type: 'object', properties: { state: { const: state } }, required: partOf[state] },
      ],
    },
    correlationId: {
      description: 'The ticket; also the AMQP property `correlation_id`.',
      location: '$message.header#/ticket_id',
    },
    bindings: { amqp: { messageType: 'imagebuilder.event', bindingVersion: '0.3.0' } },
    examples: [{ name: state, headers: exampleHeaders(event), payload: event }],
  };
}

function headersSchema(): Json {
  const {
    $schema: _dialect,
    additionalProperties: _none,
    ...schema
  } = z.toJSONSchema(EventHeaders, {
    target: 'draft-7',
  });
  return schema;
}

function exampleHeaders({ ticket_id, build_id, state, attempt, step }: BuildEvent): EventHeaders {
  return {
    CC: [`imagebuilder.ticket.${ticket_id}`, `imagebuilder.build.${build_id}`],
    ...{ ticket_id: String(ticket_id), build_id, state, attempt },
    ...(step === null ? {} : { step }),
    traceparent: callbackHeaders.traceparent.example,
  };
}

const terminal = BuildState.options.filter(isTerminal);
const headerNames = Object.keys(callbackHeaders) as (keyof typeof callbackHeaders)[];
const ended = {
  name: 'ended',
  title: 'A build has ended',
  summary: 'The last event of the build, in the body of a POST.',
  headers: {
    type: 'object',
    properties: Object.fromEntries(
      headerNames.map((name) => {
        const { description, example } = callbackHeaders[name];
        return [name, { type: 'string', description, examples: [example] }];
      }),
    ),
    required: headerNames.filter((name) => callbackHeaders[name].required),
  },
  payload: {
    allOf: [reference('BuildEvent'), { type: 'object', properties: { state: { enum: terminal } } }],
  },
  correlationId: { description: 'The call that submitted the build.', location: '$message.header#/X-Call-Id' },
  examples: terminal.map((state) => ({
    name: state,
    headers: {
      ...Object.fromEntries(headerNames.map((name) => [name, callbackHeaders[name].example])),
      'X-Function-Status': state === 'completed' ? '200' : '500',
    },
    payload: exampleEvents[state],
  })),
};
