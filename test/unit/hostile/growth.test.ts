import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { gzipSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readJsonObject } from '#lib/api/body.ts';
import { ListQuery } from '#lib/api/build-list.ts';
import { parseByteRange } from '#lib/api/byte-range.ts';
import { parseQuery } from '#lib/api/query.ts';
import { parseBuildRequest } from '#lib/api/request.ts';
import { parseArchiveName } from '#lib/apt/archive-name.ts';
import { parseDownloads, parseUris } from '#lib/apt/downloads.ts';
import { packageOf, parseDpkgFailure } from '#lib/apt/dpkg-failure.ts';
import { explainProblem } from '#lib/apt/explain.ts';
import { parseFacts } from '#lib/apt/facts.ts';
import { installError } from '#lib/apt/install.ts';
import { parseInstalledSize } from '#lib/apt/installed-size.ts';
import { parseKnowledge } from '#lib/apt/knowledge.ts';
import { methodOf, parseMessages, repositoryFault, repositorySuite, repositoryUrl } from '#lib/apt/message.ts';
import { choosingOptions } from '#lib/apt/outside/configuration.ts';
import { mirrorListPath, parseMirrorList } from '#lib/apt/outside/mirrors.ts';
import { explainNetworkFailure } from '#lib/apt/outside/network-failure.ts';
import { readPreferences } from '#lib/apt/outside/preferences.ts';
import { parseRecords } from '#lib/apt/outside/records.ts';
import { parseDeb822, parseOneLine } from '#lib/apt/outside/source-format.ts';
import { readOutsideSources, renderOutsideSource } from '#lib/apt/outside/sources.ts';
import { createStanzaReader, renderStanza } from '#lib/apt/outside/stanzas.ts';
import { comparePackages, parseListed, parsePackages } from '#lib/apt/packages.ts';
import { filesAgainst, filesWithoutPriority, parsePins } from '#lib/apt/pins.ts';
import { parsePlan } from '#lib/apt/plan.ts';
import { parseChanges } from '#lib/apt/planned.ts';
import { parsePolicies, parseSuites } from '#lib/apt/policy.ts';
import { listKey, readNamedRepositories } from '#lib/apt/repositories/named.ts';
import { parseReleaseFields } from '#lib/apt/repositories/release-fields.ts';
import { describeRepository } from '#lib/apt/repository.ts';
import { roundProblems } from '#lib/apt/resolve-problems.ts';
import { parseRoom } from '#lib/apt/room.ts';
import { parseKeyListing } from '#lib/apt/signing-key.ts';
import { parseStatusLine } from '#lib/apt/status-line.ts';
import { updateError, updateWarnings } from '#lib/apt/update-failure.ts';
import { compareVersions } from '#lib/apt/version.ts';
import { createCpioReader } from '#lib/boot/cpio.ts';
import { parseKernelModules } from '#lib/boot/drivers.ts';
import { parseGrubConfig, parsePrefix } from '#lib/boot/grub-config.ts';
import { coreSector, parseCoreImage, parseGrubImage } from '#lib/boot/grub-image.ts';
import { parseExtlinux, parseLoaderEntry } from '#lib/boot/loader-entries.ts';
import { parseBootMounts, parseTree } from '#lib/boot/tree.ts';
import { parseBrokerUrls, passwordsOf } from '#lib/broker-address.ts';
import { parseChecksums, parseDigest } from '#lib/checksums.ts';
import { eventsOf } from '#lib/client/log-events.ts';
import { parseGlanceProperties } from '#lib/config/glance-properties.ts';
import { parseVersion } from '#lib/doctor/tools.ts';
import { ImageBuilderError, safeUrl } from '#lib/errors.ts';
import { collectLines, ExecError, lastLines } from '#lib/exec.ts';
import { parseLength } from '#lib/fetch/part.ts';
import { recognise } from '#lib/file-format.ts';
import { assemblyError } from '#lib/guest/assembly.ts';
import { parseCopyrightFiles } from '#lib/guest/copyright-files.ts';
import { parseMountUnit, parseTable, subvolumeOf } from '#lib/guest/fstab.ts';
import { findHierarchies } from '#lib/guest/host/hierarchies.ts';
import { parseLook } from '#lib/guest/look.ts';
import { planMounts } from '#lib/guest/plan-mounts.ts';
import { borrowError } from '#lib/guest/script-run.ts';
import { parseTouched } from '#lib/guest/touched-files.ts';
import { compareTree, parseTreeListing } from '#lib/guest/tree-changes.ts';
import { readErrorCount } from '#lib/guest/vm/attach.ts';
import { idleMs, parseProcessors } from '#lib/guest/vm/processors.ts';
import { createEgress } from '#lib/http/egress.ts';
import { parseRetryAfter } from '#lib/http/failure.ts';
import { matchFstabSpec } from '#lib/image/layout.ts';
import { unescapeOctal } from '#lib/image/octal.js';
import type { Partition } from '#lib/image/partition.ts';
import { followPath } from '#lib/iso9660/follow.ts';
import { parseRecord } from '#lib/iso9660/record.ts';
import { readTree } from '#lib/iso9660/tree.ts';
import { parsePackageStatus } from '#lib/kinds/cd/package-status.ts';
import { parseDescribedVersion } from '#lib/kinds/touch/companion.ts';
import { describeLogLine } from '#lib/log-line.ts';
import { createLz4Reader, decompressLz4Block } from '#lib/lz4.ts';
import { allOf, parseLicences, readLicences } from '#lib/manifest/licences.ts';
import { documentFiles, toVisibleJson } from '#lib/manifest/touched.ts';
import { isMediumList, listedFiles, parseChecksumLine, updateChecksums } from '#lib/medium/checksum-lines.ts';
import { parseInstallSources, updateSourceSizes } from '#lib/medium/install-sources.ts';
import { updateManifest, updateSize } from '#lib/medium/lists.ts';
import { removeArmor } from '#lib/openpgp/armor.ts';
import { readOpenPgpKey } from '#lib/openpgp/signing-key.ts';
import { parseEnvelope } from '#lib/provenance/dsse.ts';
import { parseHostRules, parseProxy } from '#lib/proxies.ts';
import { decodeJob } from '#lib/queue/job.ts';
import { decodeRecord } from '#lib/queue/record.ts';
import { toShortString } from '#lib/queue/short-string.ts';
import { brokerText } from '#lib/queue/topology.ts';
import { parseCron } from '#lib/serve/cron.ts';
import { endToEnd } from '#lib/serve/headers.ts';
import { findRoute } from '#lib/serve/routes.ts';
import { checkAttributes, parseAttributes } from '#lib/squashfs/attributes.ts';
import { parseCompressorOptions } from '#lib/squashfs/compressor.ts';
import { type DirectoryInode, parseInode } from '#lib/squashfs/inode.ts';
import { parseListing } from '#lib/squashfs/listing.ts';
import { parseSuperblock } from '#lib/squashfs/superblock.ts';
import { parseXzSize } from '#lib/squashfs/xz.ts';
import { answerError } from '#lib/store/openstack/error.ts';
import { parseAccounts } from '#lib/tar/accounts.ts';
import { parseAcl } from '#lib/tar/acl.ts';
import { parsePaxRecords } from '#lib/tar/pax.ts';
import { lineAfter, plain, table, trimEndOf, upTo } from '#lib/text.ts';
import { parseTraceContext } from '#lib/trace-context.ts';
import { columnsOf, truncate } from '#lib/width.ts';
import { boundLines, boundText, toErrorReport } from '#lib/worker/event-limits.ts';
import { parseBody } from '../../../template/node24-ts/body.ts';
import { parseGoDuration } from '../../../template/node24-ts/duration.ts';
import { craftTar } from '../../tar/craft.ts';
import { readRoot } from '../../tar/read.ts';
import { renderRecord } from '../iso9660/craft-iso.ts';
import { findGrowth, type Growing } from './growth.ts';

/** Every parser of what comes from images, guests, servers, tools, brokers and callers: work grows as its input does. */

const lines = (text: string) => text.split('\n');
const known = {
  sources: [],
  proxyFailures: () => [
    { url: 'http://a/', status: 502, code: 'upstream.status', fault: 'upstream', message: '' } as const,
  ],
};
const partition: Partition = {
  number: 1,
  offsetBytes: 2 ** 20,
  sizeBytes: 2 ** 20,
  type: null,
  name: 'x',
  partitionUuid: null,
  fileSystem: { type: 'ext4', label: 'x', uuid: null },
};
const failed = (stderr: string) =>
  new ExecError({
    command: 'x',
    exitCode: 65,
    signalName: undefined,
    timedOut: false,
    notFound: false,
    stdout: '',
    stderr,
    cause: undefined,
  });
const request = {
  ticket_id: 'x',
  base_image: { image_type: 'cloud', url_list: ['http://x/'], series: 'noble' },
  progress_trigger: 'x',
};
const facts = ['architecture amd64'];
const apt = [{ name: 'apt', architecture: 'amd64', version: '2.0', state: 'installed' } as const];
const egress = createEgress({ allowLoopback: false, allowedHosts: ['*.example.org'] });

async function through(text: string, chunkCharacters: number): Promise<void> {
  const stream = new PassThrough();
  collectLines(stream, () => {});
  for (let at = 0; at < text.length; at += chunkCharacters) stream.write(text.slice(at, at + chunkCharacters));
  stream.end();
  await finished(stream);
}

function bootLoaderOf(bytes: Buffer): void {
  parseGrubImage(bytes, 32);
  parseGrubImage(bytes, 64);
  coreSector(bytes);
  parseCoreImage(bytes);
}

function squashfsOf(bytes: Buffer): void {
  const table = { bytes, position: () => 0 };
  const count = Math.floor(bytes.length / 16);
  const tables = {
    ...{ inodes: table, directories: table, fragments: bytes, ids: bytes },
    attributes: { pairs: table, sets: bytes, count },
  };
  const measures = { blockSizeBytes: 4096, inodeCount: 2 ** 32 };
  const listing = { listing: { block: 0, offset: 0 }, listingBytes: bytes.length, number: 1 };
  const header = Buffer.concat([Buffer.from('hsqs'), bytes, Buffer.alloc(96)]);
  for (const read of [
    () => parseSuperblock(header, bytes.length),
    () => parseXzSize(bytes, 2 ** 20),
    () => parsePaxRecords(bytes),
    () => parseInode(tables, 0, measures),
    () => [...parseListing(tables, { ...listing, type: 'directory' } as DirectoryInode)],
    () => checkAttributes(tables),
    () => parseAttributes(tables, 0),
    () => [parseCompressorOptions('xz', bytes, 4096), parseCompressorOptions('gzip', bytes, 4096)],
  ]) {
    try {
      read();
    } catch (error) {
      if (!(error instanceof ImageBuilderError || error instanceof RangeError)) throw error;
    }
  }
}

function ramdiskOf(bytes: Buffer): void {
  const wanted = { maximumBytes: 2 ** 20, isWanted: () => true, onFile: () => undefined };
  const reader = createCpioReader(() => undefined, wanted);
  for (let at = 0; at < bytes.length; at += 16) reader.push(bytes.subarray(at, at + 16));
  for (const read of [() => decompressLz4Block(bytes, 2 ** 20), () => createLz4Reader(() => undefined).push(bytes)]) {
    try {
      read();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
    }
  }
}

/** Reads the bytes as the root folder of a medium, with Rock Ridge: behind its first block, which names the folder. */
async function folderOf(bytes: Buffer): Promise<unknown> {
  const sizeBytes = 2048 * (1 + Math.ceil(bytes.length / 2048));
  const self = { block: 0, sizeBytes, flags: 2 };
  const first = Buffer.concat([
    renderRecord({ ...self, name: Buffer.from([0]), systemUse: Buffer.from('SP\x07\x01\xbe\xef\0', 'latin1') }),
    renderRecord({ ...self, name: Buffer.from([1]) }),
  ]);
  const image = Buffer.alloc(sizeBytes);
  first.copy(image);
  bytes.copy(image, 2048);
  const disk = { sizeBytes, read: async (at: number, length: number) => image.subarray(at, at + length) };
  const root = parseRecord(first, 0);
  const descriptor = { tree: 'primary', volumeId: '', sizeBytes, root, createdAt: null, modifiedAt: null } as const;
  return await readTree({ disk, sizeBytes }, descriptor, true);
}

function brokersOf(text: string): unknown {
  try {
    return parseBrokerUrls(text);
  } catch {
    return null;
  }
}

const parsers: readonly Growing[] = [
  { name: 'lines of a process', run: (text) => through(text, 16), frames: [['a', '\r']] },
  { name: 'the end of a log', run: (text) => lastLines(text, 20) },
  {
    name: 'text',
    run: (text) => [
      plain(text),
      truncate(text, 20),
      columnsOf(text),
      trimEndOf(text, ' /'),
      upTo(text, '=', ':'),
      lineAfter(text, 'x'),
    ],
    frames: [['\x1b', '']],
  },
  {
    name: 'a line of the log',
    run: (text) => describeLogLine(JSON.stringify({ message: text, error: text, x: [text] })),
  },
  { name: 'a table', run: (text) => table([[text, text]]) },
  { name: 'URLs', run: (text) => safeUrl(text), frames: [['http://x/', '']] },
  {
    name: 'fstab',
    run: (text) => [
      ...[parseTable(text), subvolumeOf([text]), parseMountUnit(text)],
      ...[planMounts({ fstab: text }, [partition], partition), parseLook(text)],
    ],
    frames: [
      ['LABEL=x /', '/x ext4 defaults 0 0'],
      ['LABEL=', ' / ext4'],
      ['LABEL=x /x ext4 ', ''],
      ['system\nfstab ', ''],
      ['[Mount]\nWhat=', ''],
    ],
  },
  {
    name: 'the first field of fstab',
    run: (text) => matchFstabSpec(text, [partition]),
    frames: [
      ['LABEL=', ''],
      ['/dev/disk/by-label/', ''],
      ['LABEL="', '"'],
    ],
  },
  {
    name: 'properties for Glance',
    run: parseGlanceProperties,
    frames: [
      ['a="', '"'],
      ['a=', ',b=1'],
      ['{"a": "', '"}'],
    ],
  },
  {
    name: 'URLs of RabbitMQ',
    run: (text) => [brokersOf(text), passwordsOf(text)],
    frames: [
      ['amqp://u:', '@h'],
      ['amqp://h', 'amqp://'],
    ],
  },
  {
    name: 'proxies',
    run: (text) => [parseProxy(text, null), parseHostRules([text]), parseHostRules(text.split(','))],
    frames: [
      ['http://x:', '@x/'],
      ['[', ']:1'],
      ['*.', ''],
    ],
  },
  { name: 'octal escapes', run: unescapeOctal },
  {
    name: "GRUB's configuration",
    run: (text) => [parseGrubConfig(text), parsePrefix(text)],
    frames: [
      ['menuentry x {\nlinux /a ', ''],
      ['menuentry x {\ninitrd ', ''],
      ['set prefix=', '/x'],
      ['search --fs-uuid --set=root ', ''],
      ['(', ')/x'],
    ],
    units: ['menuentry x {\nlinux /a\n}\n', 'submenu x {\n', '}\n', '{', 'initrd $prefix/a\n', "'"],
  },
  {
    name: 'menus of other boot loaders',
    run: (text) => [parseLoaderEntry(text), parseExtlinux(text, '/x')],
    frames: [
      ['options ', ''],
      ['label x\n initrd ', ''],
    ],
    units: ['label x\n', 'label x\n append initrd=x\n'],
  },
  { name: 'lists of kernel modules', run: (text) => parseKernelModules(text, text), units: ['a/b.ko.xz: c/d.ko\n'] },
  {
    name: 'the files that an image boots by',
    run(text) {
      const listing = parseTree(text, parseBootMounts(text, [partition]));
      return [listing.find(text), listing.find('/boot/x'), listing.findOn(partition, text)];
    },
    frames: [['l\t1\t/boot/x\t', '']],
    units: ['l\t1\t/boot/x\t/boot/x\n', '1 2 3 / / - ext4 /dev/image1\n', '/'],
  },
  {
    name: 'catalogues of installers',
    run: (text) => [parseInstallSources(text), updateSourceSizes(text, (_, size) => size + 1)],
    frames: [
      ['sources:\n- id: x\n  size: 1\n  path: ', ''],
      ['- {id: x, size: 1, path: "', '"}'],
    ],
    units: ['- {id: a, size: 1}\n', '- &a [*a]\n'],
  },
  {
    name: 'lists of a medium',
    run: (text) => [updateManifest(text, [{ name: 'x', version: '1' }]), updateSize(text, 1)],
    units: ['x 1\n'],
  },
  {
    name: 'lists of checksums of a medium',
    run(text) {
      const list = { path: 'live/md5sum.txt', text };
      const follow = (path: string) => followPath(new Map(), path);
      return [
        [parseChecksumLine(text, list.path), isMediumList(list), listedFiles(list, follow)],
        updateChecksums(
          list,
          (path) => path,
          () => new Map([['md5', 'f']]),
        ),
      ];
    },
    frames: [
      ['0'.repeat(32), '  ./x'],
      [`\\${'0'.repeat(32)}  ./`, ''],
      ['MD5 (', `) = ${'0'.repeat(32)}`],
    ],
    units: [`${'0'.repeat(32)}  ./x\n`, `MD5 (x) = ${'0'.repeat(32)}\r\n`],
  },
  {
    name: 'folders of media',
    run: (text) => folderOf(Buffer.from(text, 'latin1')),
    units: [
      renderRecord({ name: Buffer.from('A'), block: 0, sizeBytes: 0, flags: 0x80 }).toString('latin1'),
      renderRecord({ name: Buffer.from('A'), block: 0, sizeBytes: 0, flags: 2 }).toString('latin1'),
    ],
  },
  { name: 'programs of boot loaders', run: (text) => bootLoaderOf(Buffer.from(text, 'latin1')), units: ['mimg', '\0'] },
  {
    name: 'initial ramdisks',
    run: (text) => ramdiskOf(Buffer.from(text, 'latin1')),
    frames: [['070701', '']],
    units: ['\0'],
  },
  {
    name: 'tables of SquashFS',
    run: (text) => squashfsOf(Buffer.from(text, 'latin1')),
    units: ['\0', '\x01\0', 'YZ', '6 a=b\n'],
  },
  { name: 'messages of assemble.sh', run: (text) => assemblyError(failed(text)), frames: [['unsupported: ', '']] },
  { name: 'messages of borrow.sh', run: (text) => borrowError(failed(text)), frames: [['corrupt: ', '']] },
  { name: 'counts of errors', run: readErrorCount, frames: [['errors ', '']] },
  { name: 'cgroup tables', run: (text) => findHierarchies(text, text), frames: [['1 2 0:3 / /x ', ' - cgroup2 x x']] },
  { name: 'a file by its bytes', run: (text) => bytesOf(text) },
  {
    name: 'facts',
    run: (text) => parseFacts([...facts, ...lines(text).map((line) => `os-release ${line}`)], apt),
    frames: [
      ['NAME=', 'x'],
      ['VERSION="', '"'],
    ],
  },
  { name: 'facts with tools that are missing', run: (text) => parseFacts(lines(text), []), frames: [['missing ', '']] },
  {
    name: 'packages',
    run: (text) => comparePackages(parsePackages(lines(text)), parsePackages(lines(`${text}\na`)), 'x'),
    frames: [['', '\tamd64\t1\tii ']],
  },
  {
    name: 'packages as dpkg shows them',
    run: (text) => parseListed(lines(text)),
    frames: [['a\tamd64\t1\tii \t', '']],
  },
  {
    name: 'touched files',
    run: (text) => {
      const { touched } = parseTouched(Buffer.from(text));
      return touched === null ? null : toVisibleJson(documentFiles(touched));
    },
    frames: [
      ['f 644 1 /', '\n\n'],
      ['\nf 644 1 /', '\0'],
    ],
    units: ['f 644 1 /\u202e\n', 'f 644 1 /\n\0'],
  },
  {
    name: 'changes of a file tree',
    run: (text) => {
      const bytes = Buffer.from(text);
      const members = [text, ...text.split('\0').map((line) => line.slice(4))];
      return compareTree(parseTreeListing(bytes), members);
    },
    frames: [['c ./', '\0']],
    units: ['c ./a\0', 'u ./a/b/c\0', 'm /a/b\0'],
  },
  {
    name: 'copyright files',
    run: (text) => [
      parseCopyrightFiles(Buffer.from(text)),
      readLicences(new Map([['x', Buffer.from(text)]])),
      parseLicences([text.slice(0, 500)])?.map((licence) => allOf([licence, licence])),
    ],
    frames: [
      ['==> /usr/share/doc/', '/copyright <==\n'],
      ['Format: copyright-format/1.0\n\nFiles: *\nLicense: ', ''],
      ['Format: copyright-format/1.0\n\nFiles: *\nLicense: MIT\n\n', ''],
    ],
    units: ['==> /usr/share/doc/a/copyright <==\n', 'Files: *\nLicense: a or b\n\n', ' or ', 'a, and '],
  },
  { name: 'names of licences', run: (text) => parseLicences(lines(text)), units: ['GPL-2+ or MIT\n', 'a\n'] },
  { name: 'versions', run: (text) => compareVersions(`${text}1`, `${text}2`) },
  {
    name: 'messages of apt',
    run: (text) =>
      parseMessages(lines(text)).map((message) => [
        repositoryFault(message.text),
        repositoryUrl(message.text),
        repositorySuite(message.text),
        describeRepository(message.text, null, known),
      ]),
    frames: [
      ['E: ', ''],
      ['E: http://x/', ' noble InRelease'],
      ['E: Splitting up ', ' into data'],
      ['E: The method driver ', ' could not be found'],
      ["E: changed its '", "' value"],
    ],
  },
  {
    name: 'what apt-get update says',
    run: (text) => updateError(lines(text), 100, known),
    frames: [['E: Failed to fetch http://a/', '  404  Not Found']],
    units: ['E: Failed to fetch http://a/ 404 Not Found\n', 'W: The repository http://a/ x is not signed.\n'],
  },
  {
    name: 'what apt-get install says',
    run: (text) => installError({ exitCode: 100, lines: lines(text) }, [], known),
    frames: [
      ['E: Failed to fetch http://a/', ' 502'],
      ['dpkg: error processing package ', ' (--configure):'],
      ['dpkg: error processing package x (--configure)', ''],
      ["E: Problem executing scripts DPkg::Pre-Invoke '", "'\nhook in /x:y"],
    ],
    units: ['E: Failed to fetch http://a/ 502\n', 'dpkg: error processing package x (--configure):\n'],
  },
  {
    name: 'what apt would install',
    run: (text) => [
      parsePlan(lines(text)),
      parseChanges(lines(text)),
      parseUris(lines(text)),
      parseDownloads(lines(text), lines(text)),
      roundProblems({ policy: lines(text), plan: lines(text), exitCode: 100 }, ['a', 'a:b', 'b=1']),
    ],
    frames: [
      ['Inst ', ''],
      ['Inst a [', '] (1 b [c])'],
      ["'http://a' b ", ''],
      ["Note, selecting '", "' instead of 'x'"],
      ['a:\nb:\nThe following held packages will be changed:\n  ', '\nE: Held packages were changed'],
      ['a:\nb:\nE: Unable to satisfy dependencies ', ' a:amd64=1 is selected for install'],
      ['a:\nb:\nThe following packages have unmet dependencies:\n a : ', ''],
      ['a:\nb:\nPackage a is a virtual package provided by:\n  ', '\nE: Package a has no installation candidate'],
      ['', ':'],
    ],
    units: [
      'Inst a\n',
      `'http://a/' a_1_all.deb 1 SHA256:${'0'.repeat(64)}\n a | 1 | http://a b/c amd64 Packages\n`,
      "Note, selecting 'a' instead of 'b'\n",
      'Package a is not available\nHowever the following packages replace it:\n  b\n',
      ' a : b\n',
      'a:\n',
      'Package a is a virtual package provided by:\n  x\n',
      'E: Package a has no installation candidate\n',
      ' a:amd64=1 is selected for install',
    ],
  },
  {
    name: 'what apt knows of packages',
    run: (text) => {
      const known = parseKnowledge(lines(text));
      parsePolicies(lines(text));
      parseSuites(lines(text));
      const pins = parsePins(lines(text));
      filesAgainst('x', pins);
      filesWithoutPriority(pins);
      const problem = { kind: 'unknown', text, providers: [], replacedBy: [], concerns: [text] } as const;
      return [explainProblem('x', problem, known), explainProblem('x', { ...problem, kind: 'unmet' }, known)];
    },
    frames: [
      ['== names\n', ''],
      ['/a:Package: ', '\n/a:Pin-Priority: -1'],
      ['== policy\nx:\n     1.0 500\n        500 http://x ', '/main amd64 Packages'],
      ['      release ', ',n=x'],
    ],
    units: ['x:\n', '     1 500\n', '      500 http://x x/main amd64 Packages\n', '      release n=x,c=y\n', 'xy\n'],
  },
  {
    name: 'statuses of dpkg',
    run: parsePackageStatus,
    frames: [
      ['Package: x\nVersion: 1\nStatus: install ok installed\n', '\n'],
      ['Package: x\nStatus: ', ' installed\n\n'],
    ],
    units: ['Package: x\nVersion: 1\nStatus: install ok installed\n\n', 'Version: ', ': '],
  },
  {
    name: 'status lines of apt',
    run: parseStatusLine,
    frames: [
      ['pmstatus:', ':5:x'],
      ['pmstatus:x:', 'y'],
    ],
  },
  {
    name: 'room in an image',
    run: (text) => parseRoom(lines(text)),
    frames: [
      ['room ', ' 1 1 1 1 1 /'],
      ['room x 1 1 1 1 1 ', ''],
    ],
  },
  {
    name: 'sizes that apt tells',
    run: parseInstalledSize,
    frames: [
      ['Space needed: ', ' B'],
      ['', 'Space needed: '],
    ],
  },
  {
    name: 'sources on one line',
    run: (text) => {
      parseOneLine(text, 'a.list');
      return readOutsideSources([{ name: 'a.list', path: '/a.list', content: Buffer.from(text) }]).map(render);
    },
    frames: [
      ['deb http://x/ ', ' main'],
      ['deb [', '] http://x/ noble main'],
      ['deb [arch=', '] http://x/ noble main'],
      ['deb cdrom:[', ']/ noble main'],
      ['deb http://x/', ' noble main'],
      ['deb http://x/ noble main ', '#'],
    ],
  },
  {
    name: 'sources in deb822',
    run: (text) => {
      parseDeb822(text, 'a.sources');
      return readOutsideSources([{ name: 'a.sources', path: '/a.sources', content: Buffer.from(text) }]).map(render);
    },
    frames: [
      ['Types: deb\nURIs: http://x/\nSuites: noble\nComponents: main\nSigned-By:\n -----BEGIN\n ', ''],
      ['Types: deb\nURIs: http://x/\nSuites: noble\nComponents: ', ''],
      ['Types: deb\nURIs: http://x/', ''],
      ['Types: ', '\n'],
      ['', ': x'],
    ],
  },
  {
    name: 'lists of mirrors',
    run: (text) => {
      mirrorListPath(text);
      return parseMirrorList('/x', Buffer.from(text));
    },
    frames: [
      ['http://x/ ', ''],
      ['http://x/', ' priority:1'],
      ['mirror+file:/', ''],
    ],
    units: ['http://x/\tpriority:1\n'],
  },
  {
    name: 'warnings of an update',
    run: (text) => [updateWarnings(lines(text), known), methodOf(text)],
    frames: [
      ['Ign:1 http://x ', ' Release'],
      ['E: method driver /', ' could not be found'],
      ["E: The repository 'cdrom:", "' does not have a Release file"],
    ],
    units: ['Ign:1 http://x x Release\n', 'Get:1 http://x x Release.gpg\n'],
  },
  {
    name: 'repositories that sources name',
    run: (text) => {
      const content = Buffer.from(text);
      for (const name of ['x.list', 'x.sources']) readNamedRepositories([{ name, path: name, content }], 'amd64');
    },
    frames: [
      ['deb http://x ', ' main'],
      ['deb [signed-by=', '] http://x s main'],
      ['Types: deb\nSuites: a b c d e f g h i j k\nURIs: ', ''],
      ['Types: deb\nURIs: http://x\nSuites: s\nSigned-By: -----BEGIN', ''],
    ],
    units: ['deb http://x y z\n', 'Types: deb\nURIs: http://x\nSuites: s\n\n', '$(ARCH)'],
  },
  {
    name: 'names of lists',
    run: listKey,
    frames: [
      ['http://', ''],
      ['a@', ''],
    ],
    units: ['%2525', '/_', '@/'],
  },
  {
    name: 'Release files',
    run: parseReleaseFields,
    frames: [
      ['Date: ', ''],
      ['Origin: ', '\nDate: Sat, 13 Jul 2024 09:43:12 UTC'],
    ],
    units: ['Origin: x\n'],
  },
  {
    name: 'keys in armour',
    run: removeArmor,
    frames: [['-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n', '']],
    units: ['-----BEGIN PGP PUBLIC KEY BLOCK-----\n', '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n='],
  },
  {
    name: 'pins',
    run: (text) => readPreferences(text, '1.0'),
    frames: [
      ['Package: ', ''],
      ['Package: src:a ', ''],
    ],
  },
  {
    name: "apt's configuration",
    run: (text) => choosingOptions(lines(text)),
    frames: [['APT::NeverAutoRemove:: "', '";']],
  },
  {
    name: 'why a package failed',
    run: (text) => explainNetworkFailure(new ImageBuilderError('apt.install', 'x'), lines(text)),
    frames: [['dpkg: error processing package ', ' (--configure)\nNetwork is unreachable']],
    units: ['Setting up x\n', 'getaddrinfo\ndpkg: error processing package x (--configure)\n'],
  },
  {
    name: 'lines of dpkg',
    run: (text) => packageOf(parseDpkgFailure(text)?.name ?? text),
    frames: [
      ['dpkg: error processing package ', ' (--configure):'],
      ['dpkg: error processing archive /x_', '.deb (--unpack):'],
    ],
  },
  { name: 'lengths in headers', run: parseLength },
  { name: 'Retry-After', run: parseRetryAfter },
  { name: 'bodies of calls', run: (text) => parseBody(Buffer.from(text), text) },
  { name: 'JSON bodies of calls', run: (text) => parseBody(Buffer.from(text), 'application/json; charset=utf-8') },
  {
    name: 'bodies of submissions',
    run: (text) => readJsonObject({ headers: { 'content-type': 'application/json' }, rawBody: Buffer.from(text) }),
    frames: [
      ['{"a":"', '"}'],
      ['{"a":[', ']}'],
    ],
    units: ['\ufffd', '"",', '{"a":', '1,'],
  },
  {
    name: 'queries of lists',
    run: (text) =>
      parseQuery(ListQuery, { limit: text, cursor: text, state: text, ticket_id: text, series: text, [text]: text }),
  },
  {
    name: 'types of bodies',
    run: (text) => readJsonObject({ headers: { 'content-type': text }, rawBody: Buffer.from('{}') }),
    units: ['+json', 'a/'],
  },
  { name: 'records', run: (text) => parseRecords(lines(text)) },
  {
    name: 'unpacked records',
    run: (text) => parseRecords([gzipSync(text).toString('base64')]),
    frames: [['3 status ', '']],
  },
  {
    name: 'names of archives',
    run: parseArchiveName,
    frames: [
      ['', '_1_amd64.deb'],
      ['a_', '_amd64.deb'],
      ['a_1_', '.deb'],
    ],
  },
  {
    name: 'stanzas of packages',
    run: (text) => {
      const reader = createStanzaReader();
      for (const line of lines(text)) reader.add(line);
      return reader.end().map(renderStanza);
    },
    frames: [['Package: a\nDepends: ', '']],
    units: ['Package: a\n\n'],
  },
  { name: 'listed keys', run: parseKeyListing, units: ['pub:u:1\n', 'pub:u:1\nfpr:::::::::A:\n'] },
  {
    name: 'what goes into events',
    run: (text) => [boundText(text, 1000), boundLines(lines(text), 20, 4096), toErrorReport(failed(text), null, [])],
  },
  {
    name: 'envelopes of provenance',
    run: parseEnvelope,
    frames: [['{"payload":"', '"}']],
    units: ['{"sig":""},'],
  },
  {
    name: 'private keys for images',
    run: (text) => readOpenPgpKey(text, new Date(0)),
    frames: [['-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n', '']],
    units: ['AAAA\n', 'iDwEAAABAAAA\n', '-----BEGIN PGP PRIVATE KEY BLOCK-----\n'],
  },
  {
    name: 'the description of a root file system',
    run: parseDescribedVersion,
    frames: [
      ['{"version": "', '"}'],
      ['{"version": "1", "x": [', ']}'],
    ],
  },
  {
    name: 'access control lists',
    run: (text) => parseAcl(text, { users: new Map(), groups: new Map() }),
    frames: [
      ['user:', ':rwx'],
      ['user::rwx,', ''],
    ],
    units: ['user:1:rwx,', 'user:a:rwx:1\n'],
  },
  {
    name: 'the processors of the worker',
    run: (text) => idleMs(text, parseProcessors(text)),
    frames: [['Cpus_allowed_list:\t0-1', '\n']],
    units: [',2', '-3', '\ncpu1 1 2 3 4 5'],
  },
  {
    name: 'the accounts of root file systems',
    run: parseAccounts,
    frames: [['a:x:', '']],
    units: ['a:x:1\n', ':', 'a\n'],
  },
  {
    name: 'archives of root file systems',
    run: async (text) => {
      for (const name of [text, text.slice(0, 4000), `./${text.slice(0, 4000)}`]) {
        await readRoot(craftTar({ name: 'x', records: { path: name, linkpath: name } })).catch(() => null);
      }
      await readRoot(craftTar({ name: 'x', records: { comment: text, 'SCHILY.xattr.user.a': text } })).catch(
        () => null,
      );
      const names = Array.from({ length: text.length / 64 }, (_, index) => ({ name: `${index}` }));
      await readRoot(craftTar({ name: 'x', flag: '2', longTarget: text }, ...names));
    },
  },
  { name: 'digest of a request', run: parseDigest, frames: [['sha256:', '']] },
  { name: 'checksums', run: parseChecksums, frames: [[`${'0'.repeat(64)}  `, '']] },
  {
    name: 'addresses',
    run: (text) => egress.checkUrl(text),
    frames: [
      ['http://', '/'],
      ['http://[', ']/'],
      ['http://a', ':1/'],
    ],
  },
  { name: 'versions of tools', run: parseVersion, frames: [['x 1', '']] },
  {
    name: 'answers of OpenStack',
    run: (text) => openStack(text, 'application/json'),
    frames: [['{"message": "', '"}']],
  },
  {
    name: 'pages of OpenStack',
    run: (text) => openStack(text, 'text/html'),
    frames: [
      ['<head>', '</head>'],
      ['<h1>', ''],
      ['&', ';'],
    ],
  },
  { name: 'errors of RabbitMQ', run: (text) => brokerText(new Error(text)), frames: [['with message "', '']] },
  {
    name: 'messages of RabbitMQ',
    run: (text) => [decodeJob(Buffer.from(text)), decodeRecord(Buffer.from(text))],
    frames: [['{"kind":"', '"}']],
  },
  { name: 'short strings', run: toShortString },
  {
    name: 'places in traces',
    run: (text) => {
      const traceparent = `01-${'a'.repeat(32)}-${'b'.repeat(16)}-01-`;
      return [parseTraceContext({ traceparent: text }), parseTraceContext({ traceparent, tracestate: text })];
    },
    frames: [['a=', '']],
  },
  { name: 'schedules', run: parseCron, frames: [['', ' * * * *']] },
  { name: 'durations', run: parseGoDuration, frames: [['1s', '']] },
  { name: 'header fields', run: (text) => endToEnd(['Connection', text, text, text]) },
  {
    name: 'server-sent events',
    run: async (text) => {
      for await (const _ of eventsOf(Readable.from([Buffer.from(text)]))) {
        // Read to the end.
      }
    },
    units: ['data: x\n', 'data: x\n\n', 'x'],
  },
  { name: 'ranges', run: (text) => parseByteRange(text, 100), frames: [['bytes=', '-']] },
  { name: 'routes', run: findRoute, frames: [['/function/', '']] },
  {
    name: 'requests',
    run: (text) =>
      parseBuildRequest({
        ...request,
        ticket_id: text,
        [text]: text,
        base_image: { image_type: text, url_list: [text, `http://x/${text}`], series: text },
        ppa_list: [text, `ppa:${text}`],
        package_list: [text, `a=${text}`],
        progress_trigger: text,
        callback_url: text,
      }),
  },
  {
    name: 'requests with many faults',
    run: (text) => parseBuildRequest({ ...request, package_list: [...text], ppa_list: [...text] }),
  },
];

function openStack(text: string, type: string): unknown {
  return answerError('Glance', {
    status: 500,
    statusText: '',
    url: 'http://x/',
    headers: { 'content-type': type },
    text,
  });
}

function render(source: Parameters<typeof renderOutsideSource>[0]): string {
  return renderOutsideSource(
    source,
    (path) => path,
    (path) => path,
  );
}

/** Takes this much processor time of the thread. */
function burn(ms: number): void {
  const before = process.threadCpuUsage();
  for (let spent = 0; spent < ms * 1000; ) {
    const { user, system } = process.threadCpuUsage(before);
    spent = user + system;
  }
}

function bytesOf(text: string): unknown {
  const bytes = Buffer.from(text);
  return [recognise({ head: bytes, name: text }), recognise({ head: bytes, tail: bytes })];
}

/** Parsers that need no row. */
const withoutRow: Readonly<Record<string, string>> = {
  parseHeader: 'lib/image/qcow2/header.ts reads the first cluster and no more',
};

test('every parser has a row', () => {
  const repository = join(import.meta.dirname, '../../..');
  const rows = readFileSync(import.meta.filename, 'utf8');
  const files = globSync(['lib/**/*.{ts,js}', 'functions/**/*.ts', 'template/**/*.ts'], { cwd: repository });
  const names = files.flatMap((file) =>
    [...readFileSync(join(repository, file), 'utf8').matchAll(/^export (?:async )?function (\w+)/gm)].map(
      ([, name = '']) => name,
    ),
  );
  const parsers = names.filter((name) => /^(parse|decode|match|unescape)[A-Z]/.test(name));
  assert.ok(parsers.length > 20, 'the parsers are found');
  for (const name of parsers) assert.ok(rows.includes(name), `${name} has no row in this test`);
  for (const name of Object.keys(withoutRow)) assert.ok(parsers.includes(name), `${name} is not there any more`);
});

test('a parser that is quadratic is found', async () => {
  const slow = (text: string) => text.replace(/\/+$/, '');
  assert.match((await findGrowth({ name: 'slow', run: slow })) ?? '', /ms for a quarter of it/);
});

test('a parser that is quadratic is found where the first readings of smaller texts are disturbed', async () => {
  const disturbances = new Map([
    [2 ** 12 + 1, 18],
    [2 ** 14 + 1, 70],
  ]);
  const slow = (text: string) => {
    burn(32 * (text.length / 2 ** 14) ** 2 + (disturbances.get(text.length) ?? 0));
    disturbances.delete(text.length);
  };
  const run = (text: string) => text.startsWith(' ') && text.endsWith(' x') && slow(text);
  assert.match((await findGrowth({ name: 'slow', run })) ?? '', /ms for a quarter of it/);
});

for (const parser of parsers) {
  test(`the work of reading ${parser.name} grows as the input does`, async () => {
    assert.is(await findGrowth(parser), null);
  });
}

test.run();
