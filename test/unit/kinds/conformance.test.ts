import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { BaseImage } from '#lib/api/base-image.ts';
import { BuildStep } from '#lib/api/event.ts';
import { exampleRequest } from '#lib/api/examples.ts';
import { check } from '#lib/api/faults.ts';
import { openApiDocument } from '#lib/api/openapi/document.ts';
import { BuildRequest, type ImageType } from '#lib/api/request.ts';
import { architectures } from '#lib/architecture.ts';
import { loadConfig } from '#lib/config/load.ts';
import type { BaseImage as FetchedImage } from '#lib/fetch/base-image.ts';
import { recognise } from '#lib/file-format.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import type { ImageKind } from '#lib/kinds/kind.ts';
import { overallProgress } from '#lib/pipeline/progress.ts';
import { failure } from '../../failure.ts';
import { fixture } from '../../squashfs/fixtures.ts';
import { craftTar } from '../../tar/craft.ts';
import { craftQcow2 } from '../image/craft-qcow2.ts';
import { craftGpt, linuxData } from '../image/craft-table.ts';
import { foreignFiles } from '../image/foreign-files.ts';
import { withFile } from '../image/temporary.ts';
import { craftIso } from '../iso9660/craft-iso.ts';

/** Every kind of image keeps these promises. A new kind adds its samples. */

interface Samples {
  /** Small base images of the kind. */
  readonly files: readonly Buffer[];
  /** `base_image` of a request as callers write it, with all of its members. */
  readonly baseImage: Readonly<Record<string, unknown>>;
}

const samples: Readonly<Record<ImageType, Samples>> = {
  cloud: {
    files: [craftQcow2().bytes, craftGpt([{ type: linuxData, first: 2048n, last: 3071n }])],
    baseImage: exampleRequest.base_image,
  },
  cd: {
    files: [craftIso('live', { name: 'filesystem.squashfs', content: fixture('gzip') }).bytes],
    baseImage: {
      ...exampleRequest.base_image,
      image_type: 'cd',
      cd: { source: 'ubuntu-server', live: true, compact: true },
    },
  },
  touch: {
    files: [
      craftTar(...['etc/', 'var/', 'var/lib/', 'var/lib/dpkg/'].map((name) => ({ name, flag: '5' })), {
        name: 'var/lib/dpkg/status',
        content: 'Package: base',
      }),
    ],
    baseImage: { ...exampleRequest.base_image, image_type: 'touch' },
  },
};

const { unprivilegedIds } = loadConfig({}).tools;
const outputFormat = 'qcow2';
const options = {
  maximumVirtualBytes: 2 ** 30,
  unprivilegedIds,
  outputFormat,
  diskBytes: null,
  baseImage: exampleRequest.base_image,
  signal: new AbortController().signal,
} as const;
const foreign = [
  ...Object.values(foreignFiles).map(({ content }) => Buffer.from(content)),
  ...Object.values(samples).flatMap(({ files }) => files),
];

/** Inspects a file of this content as the base image that a download of it would be. */
const inspect = (kind: ImageKind, content: Buffer) =>
  withFile(content, async (path) => {
    const base: FetchedImage = {
      ...{ path, url: 'http://x/image', sizeBytes: content.length, sha256: '0'.repeat(64) },
      ...{ fromCache: false, verifiedBy: 'unverified', checksumsUrl: null, checksumAlgorithms: [], signedBy: null },
      isSound: false,
    };
    const quiet = { onNotice: () => undefined, onProgress: () => undefined };
    return await kind.inspect(base, { ...options, ...quiet, workDirectory: dirname(path) });
  });
const root = join(import.meta.dirname, '../../..');
const page = (path: string) => readFileSync(join(root, path), 'utf8');

for (const [type, kind] of Object.entries<ImageKind>(imageKinds)) {
  const { files, baseImage } = samples[type as ImageType];
  const isOwn = (content: Buffer) => kind.baseFile.formats.includes(recognise({ head: content }).format);
  const carries = (content: Buffer) => kind.baseFile.wrappings?.includes(recognise({ head: content }).format) === true;

  test(`${type}: recognises its own images, and inspects them`, async () => {
    for (const content of files) {
      assert.ok(isOwn(content));
      const { size } = await inspect(kind, content);
      assert.is(size.fileBytes, content.length);
      assert.ok(size.diskBytes > 0);
    }
  });

  test(`${type}: refuses every other file, by a fault of the request`, async () => {
    const others = foreign.filter((content) => !isOwn(content) && !carries(content));
    assert.ok(others.length > 0);
    for (const content of others) {
      const { code, fault } = await failure(inspect(kind, content));
      assert.match(code, /^image\./);
      assert.is(fault, 'request');
    }
  });

  test(`${type}: its steps have names that events know, each once, and add up to the whole build`, () => {
    const names = kind.steps.map(({ name }) => BuildStep.parse(name));
    assert.is(new Set(names).size, names.length);
    const ends = kind.steps.map(({ name }) => overallProgress(kind.steps, name, 1));
    assert.is(ends.at(-1), 1);
    for (const [index, { name, weight }] of kind.steps.entries()) {
      assert.ok(weight > 0, name);
      assert.is(overallProgress(kind.steps, name, 0), index === 0 ? 0 : ends[index - 1]);
    }
  });

  test(`${type}: is for architectures that have a name`, () => {
    assert.ok(kind.architectures.length > 0);
    for (const name of kind.architectures) assert.ok(architectures.includes(name), name);
  });

  test(`${type}: plans room for a base image and its changes in every folder`, () => {
    const plan = kind.planSpace({ work: 1, cache: 2, store: 3 }, 0);
    const MiB = 2 ** 20;
    const needs = plan.beforeDownload(100 * MiB);
    for (const folder of ['work', 'cache', 'store'] as const) assert.ok(needs[folder] >= 100 * MiB, folder);
    const size = { fileBytes: 100 * MiB, diskBytes: 4096 * MiB, packedBytes: 100 * MiB };
    assert.ok(plan.beforeChange(size, 2000 * MiB).work > plan.beforeChange(size, null).work);
    assert.ok(plan.beforeUpload(100 * MiB).store >= 100 * MiB);
  });

  test(`${type}: every member of its base image is required or has a fault of its own, or inside it`, () => {
    const faultsOf = (base: unknown) =>
      check(BuildRequest, { ...exampleRequest, base_image: base }).faults?.map(({ path }) =>
        path.split('.').slice(0, 3).join('.'),
      ) ?? [];
    assert.equal(faultsOf(baseImage), []);
    assert.equal(faultsOf({ ...baseImage, unheard: 1 }), ['$.base_image.unheard']);
    const wrong = Object.fromEntries(Object.keys(baseImage).map((name) => [name, { wrong: true }]));
    const places = Object.keys(baseImage).map((name) => `$.base_image.${name}`);
    // Without a known kind, only the members of every kind are looked at.
    const common = Object.keys(samples.cloud.baseImage).map((name) => `$.base_image.${name}`);
    assert.equal(faultsOf(wrong).sort(), places.filter((place) => common.includes(place)).sort());
    const { image_type } = baseImage;
    assert.equal(
      faultsOf({ ...wrong, image_type }).sort(),
      places.filter((place) => place !== '$.base_image.image_type').sort(),
    );
  });

  test(`${type}: the pages for callers and the glossary name it`, () => {
    assert.match(page('docs/api.md'), new RegExp(`^\\| \`base_image\\.image_type\` \\|.*\`"${type}"\``, 'm'));
    assert.match(page('docs/glossary.md'), new RegExp(`^\\| kind \\|.*\`${type}\``, 'm'));
  });
}

test('the API describes a base image of each kind, and of no other', () => {
  const document = JSON.parse(JSON.stringify(openApiDocument({ version: '1', serverUrl: '' })));
  const { oneOf } = document.components.schemas.BuildRequest.properties.base_image;
  const described = oneOf.map(
    (schema: { properties: { image_type: { const: string } } }) => schema.properties.image_type.const,
  );
  assert.equal(described, Object.keys(imageKinds));
  assert.is(BaseImage.options.length, described.length);
});

test.run();
