import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appearance } from './appearance.ts';
import type { Data } from './model.ts';
import { makeQuickUnit } from './quick-unit.ts';
import { keystone, rabbit } from './samples.ts';
import type { Unit } from './unit.ts';

/** Hooks in any order, any number of times: the end depends on what Juju says in the end, and on nothing else. */

const tls = { ssl_port: '5671', ssl_ca: Buffer.from('-----BEGIN CERTIFICATE-----\n').toString('base64') };
const bags: Readonly<Record<string, readonly Data[]>> = {
  'amqp:1': [{}, rabbit(), rabbit('10.0.0.8', 'odd/+@:password'), { ...rabbit(), ...tls }],
  'identity-credentials:2': [{}, keystone],
  'image-service:5': [{}, { 'glance-api-ready': 'yes' }],
  'object-store:6': [{}, { 'swift-url': 'http://10.0.0.40:8080' }],
  'image-builder:3': [{}],
  'cos-agent:4': [{}],
};
const token = 'token-of-the-operator-0123456789';
const hooks = ['install', 'config-changed', 'start', 'update-status', 'upgrade-charm', 'leader-elected'];

/** One thing that happens to the unit. */
type Step =
  | { readonly kind: 'relation'; readonly id: string; readonly units: readonly number[] }
  | { readonly kind: 'broken'; readonly id: string }
  | { readonly kind: 'option'; readonly name: string; readonly value: string }
  | { readonly kind: 'hook'; readonly name: string }
  | { readonly kind: 'mark'; readonly paused: boolean };

const relationIds = fc.constantFrom(...Object.keys(bags));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: relationIds.chain((id) =>
      fc.record({
        kind: fc.constant('relation' as const),
        id: fc.constant(id),
        units: fc.array(fc.nat({ max: (bags[id]?.length ?? 1) - 1 }), { maxLength: 2 }),
      }),
    ),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('broken' as const), id: relationIds }) },
  {
    weight: 2,
    arbitrary: fc.oneof(
      ...[
        ['guest', ['auto', 'host']],
        ['token', ['', 'secret:t', 'secret:gone']],
        ['log-level', ['info', 'debug']],
      ].map(([name, values]) =>
        fc.record({
          kind: fc.constant('option' as const),
          name: fc.constant(name as string),
          value: fc.constantFrom(...(values as string[])),
        }),
      ),
    ),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('hook' as const), name: fc.constantFrom(...hooks) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('mark' as const), paused: fc.boolean() }) },
);

async function take(unit: Unit, one: Step): Promise<void> {
  const { model } = unit;
  switch (one.kind) {
    case 'relation': {
      const local = model.relations.get(one.id)?.local ?? {};
      const units = one.units.map((bag, index) => [`remote/${index}`, bags[one.id]?.[bag] ?? {}] as const);
      model.relations.set(one.id, { units: new Map(units), local });
      return await unit.hook(`${one.id.split(':')[0]}-relation-changed`, { JUJU_RELATION_ID: one.id });
    }
    case 'broken':
      if (!model.relations.has(one.id)) return;
      model.relations.get(one.id)?.units.clear();
      await unit.hook(`${one.id.split(':')[0]}-relation-broken`, { JUJU_RELATION_ID: one.id });
      model.relations.delete(one.id);
      return;
    case 'option':
      model.options[one.name] = one.value;
      return await unit.hook('config-changed');
    case 'hook':
      return await unit.hook(one.name);
    case 'mark':
      return await unit.action(one.paused ? 'pause' : 'resume');
  }
}

/** A service that ran and was stopped left the mark of its start. */
const stopped: Step[] = [
  { kind: 'relation', id: 'amqp:1', units: [1] },
  { kind: 'relation', id: 'amqp:1', units: [] },
];

test('the machine, the data of relations and the status follow from Juju’s last word alone', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 8 }), async (steps) => {
      const given = (unit: Unit) => unit.model.secrets.set('secret:t', { content: { token }, granted: true });
      let model: Unit['model'];
      let paused = false;
      let seen: unknown;
      {
        await using unit = makeQuickUnit();
        given(unit);
        for (const one of steps) {
          await take(unit, one);
          if (one.kind === 'mark') paused = one.paused;
        }
        await unit.hook('update-status');
        seen = appearance(unit);
        model = unit.model;
      }
      await using fresh = makeQuickUnit();
      given(fresh);
      Object.assign(fresh.model.options, { ...model.options, port: fresh.port });
      for (const [id, { units }] of model.relations) fresh.model.relations.set(id, { units, local: {} });
      await fresh.hook('install');
      if (paused) await fresh.action('pause');
      assert.equal(appearance(fresh), seen);
    }),
    { numRuns: 40, examples: [[stopped]] },
  );
});

test.run();
