import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArtifactReport } from '#lib/api/artifact-report.ts';
import { StoredBuildReport } from '#lib/api/image-list.ts';
import { describeImage } from '#lib/client/image-report.ts';
import { exec } from '#lib/exec.ts';
import { hashFile } from '#lib/image/digest.ts';
import { readOpenPgpKey } from '#lib/openpgp/signing-key.ts';
import { createFileStore } from '#lib/store/file/file-store.ts';
import type { RootArchive } from '#lib/tar/root-archive.ts';
import { openKeyring } from '../openpgp/keyring.ts';
import { variants } from '../runner/long.ts';
import { assertUnpacks } from '../tar/unpack.ts';
import type { BuiltImage } from './guest-builds.ts';
import { assertChanged, listed, openTouchBuilds, release } from './touch-builds.ts';

/** Whole builds of archives of a root file system, of this machine's architecture and of another, by both guests. */

const keyring = await openKeyring();
test.after(async () => await keyring[Symbol.asyncDispose]());
await keyring.gpg(['--quick-generate-key', 'images', 'rsa2048', 'sign', 'never']);
const { key: imageKey } = readOpenPgpKey(await keyring.secretOf('images'), new Date());

/** Lists show the newest build of a store with all its files, for people too. */
async function assertListed({ image, artifacts }: BuiltImage, directory: string): Promise<void> {
  const { builds } = await createFileStore(directory).list({
    after: null,
    limit: 1,
    signal: new AbortController().signal,
  });
  const [found] = builds;
  if (found?.image == null) throw new Error('the image is not listed');
  assert.equal([found.state, found.image.name, found.image.format], ['whole', image.name, 'tar.xz']);
  const named = (files: readonly Pick<ArtifactReport, 'role' | 'name'>[]) =>
    files.map(({ role, name }) => `${role} ${name}`).sort();
  assert.equal(named(found.artifacts), named(artifacts));
  const report = { build_id: found.buildId, ticket_id: found.ticketId, series: found.series, caller: found.caller };
  const stored = { ...report, stored_at: found.storedAt, state: found.state, image: found.image };
  const text = describeImage(StoredBuildReport.parse({ ...stored, artifacts: [...found.artifacts] }));
  assert.match(text, /^device +device-42[.]tar[.]gz, /m);
  assert.match(text, /^version +version-1[.]tar, /m);
  assert.match(text, /^companion +ubuntu-[0-9a-f]{64}[.]json, /m);
  assert.is(text.match(/^signature /gm)?.length, 3);
}

/** The result of a release: its parts as they were, names and a description as in a pool, and signatures. */
async function assertRelease({ path, image, artifacts }: BuiltImage): Promise<void> {
  const folder = dirname(path);
  assert.is(image.name, `ubuntu-${image.checksums.sha256}.tar.xz`);
  assert.match(image.base_image?.url ?? '', /ubuntu[.]tar[.]xz$/);
  const stem = image.name.replace('.tar.xz', '');
  const ends = ['.json', '.json.asc', '.manifest', '.changes.json', '.cdx.json', '.spdx.json', '.provenance.json'];
  const parts = ['device-42.tar.gz', 'device-42.tar.gz.asc', 'version-1.tar'] as const;
  assert.equal(
    artifacts.map(({ name }) => name).sort(),
    [...ends.map((end) => stem + end), `${image.name}.asc`, ...parts].sort(),
  );
  for (const name of parts) assert.ok(release[name].equals(await readFile(join(folder, name))), name);
  const description = JSON.parse(await readFile(join(folder, `${stem}.json`), 'utf8'));
  assert.match(description.version, /^20140417-[0-9a-f]{8}$/);
  for (const name of [image.name, `${stem}.json`]) {
    const verdicts = await keyring.verify(join(folder, `${name}.asc`), join(folder, name));
    assert.match(verdicts.join('\n'), /VALIDSIG/, name);
  }
  const { stdout } = await exec('python3', ['-c', reader, path, join(folder, `${stem}.json`)]);
  assert.is(stdout.trim(), 'accepted');
}

/**
 * Reads a root file system as system-image-server's lib/systemimage does: members in their order, contents by their names,
 * copied to GNU's format; the digest in the description is that of the file, and in its name.
 */
const reader = `
import hashlib, io, json, os, sys, tarfile
path, described = sys.argv[1:]
with open(path, "rb") as source:
    digest = hashlib.sha256(source.read()).hexdigest()
with open(described) as source:
    text = source.read()
metadata = json.loads(text)
assert text == json.dumps(metadata, sort_keys=True, indent=4, separators=(",", ": ")) + "\\n"
assert metadata["rootfs_checksum"] == digest and os.path.basename(path) == "ubuntu-%s.tar.xz" % digest
assert metadata["version_detail"] == "ubuntu=" + metadata["version"]
names = set()
with tarfile.open(path, "r:xz") as archive, open(os.devnull, "wb") as nowhere:
    with tarfile.open(fileobj=nowhere, mode="w|", format=tarfile.GNU_FORMAT) as copy:
        for member in archive:
            assert member.name not in names and (member.name + "/").startswith("system/"), member.name
            names.add(member.name)
            assert not member.islnk() or member.linkname in names, member.linkname
            copy.addfile(member, archive.extractfile(member.name) if member.isfile() else None)
assert "system/usr/bin/touch-sample" in names
print("accepted")
`;

for (const architecture of variants('armhf', 'amd64')) {
  test(`${architecture}: an archive gets a package of a PPA by both guests, and all else of it stays`, async () => {
    const isRelease = architecture === 'amd64';
    await using builds = await openTouchBuilds({ architecture, ...(isRelease && { release, imageKey }) });
    const results: RootArchive[] = [];
    for (const guest of ['host', 'vm'] as const) {
      const environment = { IMAGEBUILDER_FINISHED_CACHE_SIZE: isRelease ? '1G' : '0' };
      const built = await builds.build(guest, ['touch-sample'], { environment });
      const { path, image } = built;
      assert.is(image.format, isRelease ? 'tar.xz' : 'tar.gz');
      if (isRelease) {
        await assertRelease(built);
        await assertListed(built, join(builds.directory, 'store'));
        const again = await builds.build(guest, ['touch-sample'], { environment });
        assert.ok(again.image.reused, 'the same again is taken from the cache, with all parts');
        await assertRelease(again);
      }
      assert.equal((await hashFile(path)).checksums, image.checksums);
      assert.ok(image.packages?.some(({ name }) => name === 'touch-sample'));
      results.push(await assertChanged(builds, path));
      await assertUnpacks(`${path}.tar`, guest === 'host' ? 'tar' : 'busybox');
    }
    const [host, vm] = results as [RootArchive, RootArchive];
    assert.equal(listed(vm), listed(host));
  });
}

test.run();
