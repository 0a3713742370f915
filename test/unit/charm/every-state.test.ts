import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { appearance } from './appearance.ts';
import { type Data, hookTools } from './model.ts';
import { makeQuickUnit } from './quick-unit.ts';
import { forgotten, type State, type Subject, subjects, token } from './states.ts';
import type { Unit } from './unit.ts';

/**
 * Every hook in every state of every relation. A unit that comes to a state from another one, by any hook, looks like a unit
 * that was installed there: service, settings, data of relations, ports and status, with nothing of the credentials before.
 */

const general = [
  'install',
  'leader-elected',
  'leader-settings-changed',
  'config-changed',
  'start',
  'update-status',
  'upgrade-charm',
  'secret-changed',
];
/** Tools that change something outside the unit's folders. */
const changing = ['apt-get', 'close-port', 'open-port', 'relation-set', 'secret-add', 'secret-remove', 'secret-set'];

type Units = Readonly<Record<string, Data>> | null;

const idOf = ({ endpoint, others }: Subject): string => `${endpoint}:${Object.keys(others).length + 10}`;

function makeRelated({ others, options }: Subject): Unit {
  const unit = makeQuickUnit();
  unit.model.secrets.set('secret:t', { content: { token }, granted: true });
  Object.assign(unit.model.options, options);
  for (const [id, units] of Object.entries(others)) {
    unit.model.relations.set(id, { units: new Map(Object.entries(units)), local: {} });
  }
  return unit;
}

/** Says how the relation is now. Data of our own unit stay as long as the relation. */
function relate({ model }: Unit, id: string, units: Units): void {
  const local = model.relations.get(id)?.local ?? {};
  if (units === null) model.relations.delete(id);
  else model.relations.set(id, { units: new Map(Object.entries(units)), local });
}

/** A hook as Juju runs it, in the state that it tells of. */
interface Event {
  readonly name: string;
  readonly run: (unit: Unit) => Promise<void>;
}

function eventsOf(subject: Subject, units: Units, before: Units): Event[] {
  const { endpoint } = subject;
  const id = idOf(subject);
  const variables = { JUJU_RELATION: endpoint, JUJU_RELATION_ID: id };
  const event = (name: string, more: Data = {}, listed: Units = units): Event => ({
    name: `${name} ${JSON.stringify(more)}`,
    run: async (unit) => {
      relate(unit, id, listed);
      await unit.hook(name, { ...variables, ...more });
      relate(unit, id, units);
    },
  });
  // A unit that was installed before the relation came learns of it by the relation's own hooks.
  const hooks = (before === null ? ['install'] : general).map((name) => event(name));
  const leaving = Object.keys(before ?? {})
    .filter((name) => units?.[name] === undefined)
    .map((name) => ({ JUJU_REMOTE_UNIT: name, JUJU_DEPARTING_UNIT: name }));
  if (units === null && before === null) return hooks;
  // The relation is still listed, and after departures of which the hooks have failed, its units are as well.
  if (units === null)
    return [...hooks, ...[{}, before].map((listed) => event(`${endpoint}-relation-broken`, {}, listed))];
  const remote = Object.keys(units).map((name) => ({ JUJU_REMOTE_UNIT: name }));
  return [
    ...hooks,
    event(`${endpoint}-relation-created`),
    ...remote.flatMap((one) => ['joined', 'changed'].map((name) => event(`${endpoint}-relation-${name}`, one))),
    ...leaving.map((one) => event(`${endpoint}-relation-departed`, one)),
    // The unit that leaves may still be listed.
    ...leaving
      .slice(-1)
      .filter(() => leaving.length === 1)
      .map((one) => event(`${endpoint}-relation-departed`, one, { ...before, ...units })),
  ];
}

async function appearanceOfNew(subject: Subject, units: Units): Promise<unknown> {
  await using unit = makeRelated(subject);
  relate(unit, idOf(subject), units);
  await unit.hook('install');
  return appearance(unit);
}

function assertForgotten({ files, model, machine }: Unit, event: string): void {
  const local = [...model.relations.values()].map((relation) => relation.local);
  const left = JSON.stringify([files(), local, machine.active ? machine.starts.at(-1) : null, [...model.ownSecrets]]);
  assert.not.match(left, forgotten, `${event}: something of the state before is left`);
}

async function everyHook(subject: Subject, { units, status, says }: State): Promise<void> {
  const id = idOf(subject);
  const wanted = await appearanceOfNew(subject, units);
  await using unit = makeRelated(subject);
  const { model } = unit;
  for (const before of [null, subject.before]) {
    for (const { name, run } of eventsOf(subject, units, before)) {
      relate(unit, id, before);
      await unit.hook('update-status');
      await run(unit);
      assert.equal(appearance(unit), wanted, `${name} after ${before === null ? 'no relation' : 'another state'}`);
      assertForgotten(unit, name);
    }
  }
  assert.is(model.status.name, status, model.status.message);
  assert.match(model.status.message, says);
  assert.is(unit.machine.active, status === 'active');
  await unit.hook('update-status');
  const changes = unit.calls.filter(({ tool, words }) => changing.includes(tool) || words[0] === 'restart');
  assert.equal(changes, [], 'a hook that runs again changes nothing');

  await unit.action('pause');
  for (const name of ['update-status', 'config-changed', 'upgrade-charm']) await unit.hook(name);
  assert.is(model.status.name, status === 'active' ? 'maintenance' : status);
  assert.not.ok(unit.machine.active || unit.machine.enabled);
  assert.equal([...model.ports], []);
  await unit.action('resume');
  assert.equal(appearance(unit), wanted, 'resume');

  await unit.hook('stop');
  assert.not.ok(unit.machine.active || unit.machine.enabled);
  await unit.hook('remove');
  assert.equal(unit.files(), {});
}

for (const [title, subject] of Object.entries(subjects)) {
  for (const state of subject.states) {
    test(`${title}, ${state.name}: every hook brings the unit there`, () => everyHook(subject, state));
  }
}

/** The part of the model that a hook commits when it ends well. */
function committed({ model }: Unit): string {
  const relations = [...model.relations].map(([id, { local }]) => [id, local]);
  const secrets = [...model.ownSecrets].map(([id, { content, grants }]) => [id, content, [...grants]]);
  return JSON.stringify([relations, [...model.ports], secrets]);
}

/** The tools of Juju that a change to this state calls. */
async function toolsThatChange(unit: Unit, subject: Subject, units: Units): Promise<string[]> {
  relate(unit, idOf(subject), subject.before);
  await unit.hook('install');
  relate(unit, idOf(subject), units);
  await unit.hook('config-changed');
  return [...new Set(unit.calls.map(({ tool }) => tool))].filter((tool) => hookTools.includes(tool));
}

for (const [title, subject] of Object.entries(subjects)) {
  test(`${title}: a tool that fails commits nothing, and the hook that Juju repeats does it all`, async () => {
    const [first, second] = [subject.states[0], subject.states.find(({ name }) => /^complete|with a unit$/.test(name))];
    for (const { units } of [first, second].filter((one) => one !== undefined)) {
      const wanted = await appearanceOfNew(subject, units);
      await using unit = makeRelated(subject);
      const { model } = unit;
      for (const tool of await toolsThatChange(unit, subject, units)) {
        relate(unit, idOf(subject), subject.before);
        await unit.hook('config-changed');
        relate(unit, idOf(subject), units);
        const before = committed(unit);
        model.failing.add(tool);
        const { exitCode } = await unit.tryHook('config-changed');
        assert.is.not(exitCode, 0, tool);
        assert.is(committed(unit), before, tool);
        model.failing.clear();
        await unit.hook('config-changed');
        assert.equal(appearance(unit), wanted, tool);
      }
    }
  });
}

test.run();
