import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toImageBuilderError } from '../errors.ts';
import { chooseStores, createOpenStackStores, type StoreInputs } from './choose.ts';
import { createGlance } from './glance/api.ts';
import type { FinishedImage, Store } from './store.ts';
import { openContainer } from './swift/api.ts';

/** Whether finished images will find their way: looked at as a build would go it, with a tiny image that is removed. */

export interface Finding {
  /** What was looked at. */
  readonly what: string;
  readonly ok: boolean;
  /** What was found, or what is wrong, in plain words. */
  readonly detail: string;
}

const tinyBytes = 64 * 1024;
const timeLimitMs = 120_000;

/** Looks at everything in the order in which a build needs it, and ends with the first thing that is wrong. */
export function checkStores(inputs: StoreInputs): AsyncGenerator<Finding, void> {
  return takeSteps(stepsOf(inputs, AbortSignal.timeout(timeLimitMs)));
}

/** The part of it that changes nothing: settings, credentials and catalogue. */
export function glanceAtStores(inputs: StoreInputs, signal: AbortSignal): AsyncGenerator<Finding, void> {
  return takeSteps(stepsOf(inputs, signal).filter(({ changes }) => !changes));
}

function stepsOf(inputs: StoreInputs, signal: AbortSignal): Step[] {
  const { settings, openStack } = inputs;
  if (openStack === null || settings.store === 'file') return fileSteps(inputs, signal);
  return openStackSteps({ ...inputs, openStack }, signal);
}

async function* takeSteps(steps: readonly Step[]): AsyncGenerator<Finding, void> {
  for (const { what, look } of steps) {
    try {
      yield { what, ok: true, detail: await look() };
    } catch (error) {
      yield { what, ok: false, detail: toImageBuilderError(error).message };
      return;
    }
  }
}

interface Step {
  readonly what: string;
  /** True for what puts something into the store, or makes it ready for that. */
  readonly changes: boolean;
  readonly look: () => Promise<string>;
}

const read = (what: string, look: Step['look']): Step => ({ what, changes: false, look });
const write = (what: string, look: Step['look']): Step => ({ what, changes: true, look });

function fileSteps(inputs: StoreInputs, signal: AbortSignal): Step[] {
  const { store, storeDirectory } = inputs.settings;
  return [
    read('settings', async () => {
      chooseStores(inputs);
      return `images go to the file store ${storeDirectory}${store === 'file' ? '' : ', as no OpenStack is configured'}`;
    }),
    write('file store', () =>
      tryStore(chooseStores(inputs)('cloud'), signal, (id) => rm(join(storeDirectory, id), { recursive: true })),
    ),
  ];
}

function openStackSteps(
  inputs: StoreInputs & { readonly openStack: NonNullable<StoreInputs['openStack']> },
  signal: AbortSignal,
): Step[] {
  const { settings, openStack } = inputs;
  const { session, glance: glanceStore, swift: swiftStore } = createOpenStackStores(inputs);
  const glance = createGlance(session);
  const container = openContainer(session, settings.swiftContainer);
  const goesTo = {
    auto: 'cloud images go to Glance, all others to Swift',
    glance: 'images go to Glance',
    swift: 'images go to Swift',
    file: '',
  };
  const steps: Step[] = [
    read('settings', async () => `${openStack.source}; ${goesTo[settings.store]}`),
    read('Keystone', async () => `a token for the project ${await session.projectId({ signal })}`),
  ];
  if (settings.store !== 'swift') {
    steps.push(
      read('Glance', async () => describe(await session.endpoint('image', { signal }))),
      read('Glance quota', async () => describeRoom(await glance.room({ signal }))),
      write('Glance upload', () => tryStore(glanceStore, signal, (id) => glance.remove(id, { signal }))),
    );
  }
  if (settings.store !== 'glance') {
    steps.push(
      read('Swift', async () => describe(await session.endpoint('object-store', { signal }))),
      write('Swift quota', async () => {
        await container.ensure(settings.swiftTemporaryUrlKey, { signal });
        return describeRoom(await container.room({ signal }));
      }),
      write('Swift upload', () => tryStore(swiftStore, signal, (id) => container.remove(id, { signal }))),
    );
  }
  return steps;
}

const describe = ({ url, region }: { readonly url: string; readonly region: string }) =>
  `${url}${region === '' ? '' : ` in the region ${region}`}`;

function describeRoom(bytes: number | null): string {
  if (bytes === null) return 'none is known';
  if (bytes < tinyBytes)
    throw new Error(`the quota leaves ${Math.max(0, bytes)} bytes; delete something, or have it raised`);
  return `leaves ${Math.floor(bytes / 1024 ** 2)} MiB`;
}

/** Puts an image of random bytes, which the store itself verifies, and removes it. */
async function tryStore(store: Store, signal: AbortSignal, remove: (id: string) => Promise<void>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-store-check-'));
  try {
    const stored = await store.put(await tinyImage(directory), { signal, onProgress: () => {} });
    await remove(stored.id);
    return `${tinyBytes} bytes put, verified and removed again`;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function tinyImage(directory: string): Promise<FinishedImage> {
  const content = randomBytes(tinyBytes);
  const digest = (algorithm: string) => createHash(algorithm).update(content).digest('hex');
  const path = join(directory, 'check.raw');
  await writeFile(path, content);
  return {
    buildId: randomUUID(),
    ticketId: 'store-check',
    name: 'imagebuilder-store-check.raw',
    path,
    sizeBytes: content.length,
    checksums: { sha256: digest('sha256'), sha512: digest('sha512') },
    format: 'raw',
    series: 'check',
    baseImageSha256: digest('sha256'),
    architecture: 'amd64',
    distribution: 'check',
    distributionVersion: '0',
  };
}
