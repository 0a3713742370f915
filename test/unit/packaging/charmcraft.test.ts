import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parse, stringify } from 'yaml';
import { readCharmcraft } from '../../../packaging/charm/charmcraft.ts';

/** The rules for charmcraft.yaml, by mistakes of which charmcraft's JSON schema lets most pass. */

const sample = `
name: imagebuilder
title: Image Builder
type: charm
summary: Rebuilds images.
description: Rebuilds images with packages.
base: ubuntu@24.04
platforms:
  amd64:
  arm64:
parts:
  charm:
    plugin: dump
    source: .
    prime: [dispatch, src]
assumes:
  - juju >= 3.4
links:
  website: [https://imagebuilder.example/]
provides:
  image-builder:
    interface: imagebuilder
requires:
  amqp:
    interface: rabbitmq
    limit: 1
    optional: false
  cos-agent:
    interface: cos_agent
    scope: container
peers:
  cluster:
    interface: imagebuilder-peers
extra-bindings:
  public:
storage:
  data:
    type: filesystem
    description: Images.
    location: /var/lib/imagebuilder
    minimum-size: 20G
    multiple:
      range: 0-1
resources:
  software:
    type: file
    filename: imagebuilder.tar.gz
    description: Another program.
config:
  options:
    port:
      type: int
      default: 8000
      description: TCP port.
    guest:
      type: string
      default: auto
      description: Guest.
    verbose:
      type: boolean
      default: false
      description: More lines.
    share:
      type: float
      default: 0.5
      description: Share.
    api-token:
      type: secret
      description: Secret with a token.
actions:
  pause:
    description: Stops the service.
    additionalProperties: false
  build:
    description: Builds an image.
    params:
      series:
        type: string
        description: Series.
      packages:
        type: array
        items: { type: string }
        description: Packages.
    required: [series]
    additionalProperties: false
`;

type Place = readonly string[];

/** The sample with another value at a place; undefined takes what is there away. */
function changed(place: Place, value: unknown): string {
  const document = parse(sample) as Record<string, unknown>;
  let target = document;
  for (const key of place.slice(0, -1)) target = target[key] as Record<string, unknown>;
  const last = place.at(-1) ?? '';
  if (value === undefined) delete target[last];
  else target[last] = value;
  return stringify(document);
}

function faultsOf(text: string): string {
  try {
    readCharmcraft(text);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

const option = (name: string, key: string): Place => ['config', 'options', name, key];

/** Mistakes that people make, each with the fault that is reported. */
const mistakes: readonly {
  readonly title: string;
  readonly place: Place;
  readonly value: unknown;
  readonly fault: string;
}[] = [
  { title: 'no platforms', place: ['platforms'], value: undefined, fault: 'platforms is missing' },
  { title: 'no parts', place: ['parts'], value: undefined, fault: 'parts is missing' },
  { title: 'no base', place: ['base'], value: undefined, fault: 'base is missing, and must be ubuntu@24.04' },
  { title: 'another distribution', place: ['base'], value: 'debian@12', fault: 'base must be ubuntu@24.04' },
  { title: 'a base without tests', place: ['base'], value: 'ubuntu@26.04', fault: 'base must be ubuntu@24.04' },
  { title: 'an unknown key', place: ['foo'], value: 1, fault: 'has keys that are unknown here: foo' },
  {
    title: 'a name with a capital',
    place: ['name'],
    value: 'ImageBuilder',
    fault: 'name must be a name of lower-case',
  },
  {
    title: 'a name with an underscore',
    place: ['name'],
    value: 'image_builder',
    fault: 'name must be a name of lower-case',
  },
  {
    title: 'a long summary',
    place: ['summary'],
    value: 'x'.repeat(100),
    fault: 'summary must have at most 78 characters',
  },
  {
    title: 'an unknown type of option',
    place: option('guest', 'type'),
    value: 'text',
    fault: 'guest.type must be string, int,',
  },
  { title: 'text for a number', place: option('port', 'default'), value: 'abc', fault: 'default must be a number' },
  { title: 'a quoted number', place: option('port', 'default'), value: '8000', fault: 'default must be a number' },
  {
    title: 'a fraction for a whole number',
    place: option('port', 'default'),
    value: 1.5,
    fault: 'default must be a whole number',
  },
  {
    title: 'text for a truth',
    place: option('verbose', 'default'),
    value: 'no',
    fault: 'default must be true or false',
  },
  { title: 'a default secret', place: option('api-token', 'default'), value: 'x', fault: 'default must not be given' },
  {
    title: 'an option without a type',
    place: option('guest', 'type'),
    value: undefined,
    fault: 'guest.type must be string, int,',
  },
  {
    title: 'an option without a description',
    place: option('guest', 'description'),
    value: undefined,
    fault: 'is missing',
  },
  {
    title: 'an option in snake case',
    place: ['config', 'options', 'api_url'],
    value: { type: 'string', description: 'x' },
    fault: 'api_url must be a name',
  },
  {
    title: 'a relation without an interface',
    place: ['requires', 'amqp', 'interface'],
    value: undefined,
    fault: 'requires.amqp.interface is missing',
  },
  {
    title: 'an unknown scope',
    place: ['requires', 'amqp', 'scope'],
    value: 'host',
    fault: 'scope must be global or container',
  },
  { title: 'a limit of none', place: ['requires', 'amqp', 'limit'], value: 0, fault: 'limit must not be less than 1' },
  {
    title: 'a reserved endpoint',
    place: ['provides', 'juju-info'],
    value: { interface: 'x' },
    fault: 'which Juju reserves',
  },
  {
    title: 'two endpoints of one name',
    place: ['provides', 'amqp'],
    value: { interface: 'x' },
    fault: 'requires.amqp has the name of one in provides',
  },
  {
    title: 'a binding with the name of an endpoint',
    place: ['extra-bindings', 'amqp'],
    value: null,
    fault: 'extra-bindings.amqp has the name of one in requires',
  },
  {
    title: 'an unknown type of resource',
    place: ['resources', 'software', 'type'],
    value: 'snap',
    fault: 'type must be file',
  },
  {
    title: 'a resource without a file name',
    place: ['resources', 'software', 'filename'],
    value: undefined,
    fault: 'filename is missing',
  },
  {
    title: 'a resource in a folder',
    place: ['resources', 'software', 'filename'],
    value: 'a/b',
    fault: 'must be a name without a folder',
  },
  {
    title: 'an unknown type of storage',
    place: ['storage', 'data', 'type'],
    value: 'nfs',
    fault: 'type must be filesystem or block',
  },
  { title: 'a storage without a type', place: ['storage', 'data', 'type'], value: undefined, fault: 'type is missing' },
  {
    title: 'a block device with a place',
    place: ['storage', 'data', 'type'],
    value: 'block',
    fault: 'location is for the type filesystem only',
  },
  {
    title: 'a size without a unit',
    place: ['storage', 'data', 'minimum-size'],
    value: '20',
    fault: 'with the unit M, G or T',
  },
  {
    title: 'a range of nothing',
    place: ['storage', 'data', 'multiple', 'range'],
    value: 'some',
    fault: 'must be a range of numbers',
  },
  {
    title: 'an action in snake case',
    place: ['actions', 'clean_cache'],
    value: { description: 'x', additionalProperties: false },
    fault: 'clean_cache must be a name',
  },
  {
    title: 'an action named like a keyword',
    place: ['actions', 'import'],
    value: { description: 'x', additionalProperties: false },
    fault: 'actions.import must not be a keyword',
  },
  {
    title: 'an action without a description',
    place: ['actions', 'pause', 'description'],
    value: undefined,
    fault: 'description is missing',
  },
  {
    title: 'text for additionalProperties',
    place: ['actions', 'build', 'additionalProperties'],
    value: 'no',
    fault: 'must be true or false',
  },
  {
    title: 'a parameter in snake case',
    place: ['actions', 'build', 'params', 'image_url'],
    value: { type: 'string', description: 'x' },
    fault: 'image_url must be a name',
  },
  {
    title: 'a parameter of an unknown type',
    place: ['actions', 'build', 'params', 'series', 'type'],
    value: 'text',
    fault: 'type must be string or integer',
  },
  {
    title: 'a reference in a parameter',
    place: ['actions', 'build', 'params', 'series', '$ref'],
    value: '#/x',
    fault: 'must not have $ref',
  },
  {
    title: 'a required parameter that is none',
    place: ['actions', 'build', 'required'],
    value: ['release'],
    fault: 'required.0 must be a parameter, and release is none',
  },
  {
    title: 'free text for a version of Juju',
    place: ['assumes'],
    value: ['whatever'],
    fault: 'assumes.0 must compare the version of Juju',
  },
  {
    title: 'a user, which only Kubernetes has',
    place: ['charm-user'],
    value: 'root',
    fault: 'unknown here: charm-user',
  },
  {
    title: 'an architecture without Node',
    place: ['platforms', 'riscv64'],
    value: null,
    fault: 'platforms has keys that are unknown here: riscv64',
  },
  {
    title: 'a charm for all architectures',
    place: ['platforms', 'all'],
    value: { 'build-on': ['amd64'], 'build-for': ['all'] },
    fault: 'unknown here: all',
  },
  { title: 'no architecture', place: ['platforms'], value: {}, fault: 'platforms must have amd64 or arm64' },
  { title: 'an unknown plugin', place: ['parts', 'charm', 'plugin'], value: 'nosuch', fault: 'plugin must be dump' },
  {
    title: 'bases beside platforms',
    place: ['bases'],
    value: [{ name: 'ubuntu', channel: '24.04' }],
    fault: 'unknown here: bases',
  },
  {
    title: 'libraries for Python',
    place: ['charm-libs'],
    value: [{ lib: 'a.b', version: '1' }],
    fault: 'unknown here: charm-libs',
  },
  {
    title: 'a link to nowhere',
    place: ['links', 'website'],
    value: ['imagebuilder'],
    fault: 'links.website.0 must be a',
  },
  { title: 'no description', place: ['description'], value: undefined, fault: 'description is missing' },
  { title: 'another type', place: ['type'], value: 'bundle', fault: 'type must be charm' },
];

test('a file without mistakes is read', () => {
  assert.is(faultsOf(sample), '');
  assert.is(readCharmcraft(sample).config?.options.port?.default, 8000);
});

for (const { title, place, value, fault } of mistakes) {
  test(`charmcraft.yaml is refused with ${title}`, () => {
    const text = faultsOf(changed(place, value));
    assert.match(text, fault);
    assert.is(text.split('\n').length, 1, text);
    assert.ok(text.startsWith('charmcraft.yaml'), text);
  });
}

test('the charm of this repository has none of these mistakes', async () => {
  assert.is(faultsOf(await readFile(join(import.meta.dirname, '../../../charm/charmcraft.yaml'), 'utf8')), '');
});

test('every fault of a file is named at once', () => {
  const document = parse(sample) as Record<string, unknown>;
  const text = faultsOf(stringify({ ...document, name: 'A', base: 'x', type: 1 }));
  assert.is(text.split('\n').length, 3, text);
});

for (const text of ['', '- a', 'text', 'a: [', 'a: 1\na: 2', '&a [*a]']) {
  test(`charmcraft.yaml is refused with ${JSON.stringify(text)} in it`, () =>
    assert.match(faultsOf(text), /^charmcraft\.yaml /));
}

test.run();
