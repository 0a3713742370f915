import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ImageBuilderError } from '#lib/errors.ts';
import type { PackageRecipe } from '../../lab/servers/launchpad.ts';
import { type GuestBuildOptions, type GuestBuilds, openGuestBuilds } from './guest-builds.ts';

/** Builds in a vm on a base image that is known: the worker fetches their packages while the image is opened. */

const packages: readonly PackageRecipe[] = [
  { name: 'odd-small', files: { '/usr/share/odd/small': 'small\n' } },
  { name: 'odd-new', files: { '/usr/share/odd/new': 'new\n' } },
  { name: 'odd-large', fields: { 'Installed-Size': '99999999' }, files: { '/usr/share/odd/large': 'large\n' } },
];
/** The facts of base images are kept beside layers. */
const kept = { IMAGEBUILDER_LAYERS_CACHE_SIZE: '4G' };

const isOfApt = (line: string) => /^(Get|Hit):[0-9]+ /.test(line);

let builds: GuestBuilds;
/** The steps of a build, and those in which apt has fetched, both in their order. */
let steps: (string | null)[] = [];
let fetching: (string | null)[] = [];

/** Never with a layer. */
async function build(wanted: readonly string[], options: GuestBuildOptions = {}) {
  [steps, fetching] = [[], []];
  const onLine = (line: string, step: string | null) => {
    if (steps.at(-1) !== step) steps.push(step);
    if (isOfApt(line)) fetching.push(step);
    options.onLine?.(line, step);
  };
  const environment = { ...kept, ...options.environment };
  return await builds.build('vm', wanted, { ...options, reuse: false, environment, onLine });
}

/** The error of a build, and the step that it has failed in. */
async function failureOf(wanted: readonly string[], options: GuestBuildOptions = {}) {
  const error = await build(wanted, options).then(
    () => assert.unreachable('the build has not failed'),
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ImageBuilderError)) throw error;
  return { code: error.code, message: error.message, step: steps.at(-1) };
}

test.before(async () => {
  builds = await openGuestBuilds('plain', packages);
});

test.after(async () => {
  await builds[Symbol.asyncDispose]();
});

test('the packages are fetched while the image is opened, and are the same as where it was open before', async () => {
  const first = await build(['odd-small', 'tree']);
  assert.is(fetching[0], 'sources');
  const second = await build(['odd-small', 'tree']);
  assert.is(fetching[0], 'open');
  assert.equal(second.image.packages, first.image.packages);
});

test('a package that cannot be had fails the step that installs', async () => {
  const { code, message, step } = await failureOf(['odd-small', 'odd-none']);
  assert.is(code, 'apt.package');
  assert.match(message, /odd-none/);
  assert.is(step, 'install');
});

test('packages too large for the image fail the step that installs', async () => {
  const { code, step } = await failureOf(['odd-large']);
  assert.is(code, 'image.full');
  assert.is(step, 'install');
});

test('a PPA with a wrong signature fails the step that adds it', async () => {
  await builds.republish(packages, 'wrong-signature');
  const { code, step } = await failureOf(['odd-small']);
  await builds.republish(packages);
  assert.is(code, 'apt.signature');
  assert.is(step, 'sources');
});

test('a PPA whose packages cannot be had fails the step that installs', async () => {
  const files = /[.]deb$/;
  builds.fault(files, { kind: 'status', status: 503 });
  const { code, step } = await failureOf(['odd-new']);
  builds.fault(files, null);
  assert.is(code, 'upstream.status');
  assert.is(step, 'install');
});

test('a build that is cancelled while its packages are fetched leaves nothing', async () => {
  const cancelled = new AbortController();
  const reason = new Error('cancelled');
  const onLine = (line: string) => {
    if (isOfApt(line)) cancelled.abort(reason);
  };
  const thrown = await build(['odd-small', 'tree'], { signal: cancelled.signal, onLine }).catch((error) => error);
  assert.is(thrown, reason);
});

test.run();
