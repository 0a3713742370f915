import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { architecturesOf, choosingOptions, renderWorkerConfiguration } from '#lib/apt/outside/configuration.ts';
import { readPreferences } from '#lib/apt/outside/preferences.ts';
import { stateOf } from '#lib/apt/outside/state.ts';

test('options that decide about packages are taken over, whatever the case of their letters', () => {
  const lines = [
    'APT::Install-Suggests "0";',
    'Apt::AutoRemove::SuggestsImportant "false";',
    'APT::Default-Release "noble";',
    'APT::Never-MarkAuto-Sections:: "metapackages";',
    'APT::NeverAutoRemove:: "^linux-image-4\\.15\\.0-20-generic$";',
  ];
  assert.equal(choosingOptions(lines), lines);
});

test('nothing of an image’s apt.conf runs a command, names a file, or weakens what is verified', () => {
  const hostile = [
    'Dir "/";',
    'Dir::Etc::Parts "/etc";',
    'Dir::Bin::methods "/tmp";',
    'Dir::Bin::apt-key "/tmp/x";',
    'Dir::State::status "/etc/shadow";',
    'DPkg::Pre-Invoke:: "touch /tmp/x";',
    'DPkg::Post-Invoke:: "touch /tmp/x";',
    'DPkg::Pre-Install-Pkgs:: "touch /tmp/x";',
    'DPkg::Options:: "--root=/";',
    'APT::Update::Pre-Invoke:: "touch /tmp/x";',
    'APT::Update::Post-Invoke-Success:: "touch /tmp/x";',
    'APT::Key::GPGVCommand "/tmp/x";',
    'APT::Solver "/tmp/x";',
    'APT::Planner "dump";',
    'APT::Get::AllowUnauthenticated "true";',
    'APT::Authentication::TrustCDROM "true";',
    'APT::Sandbox::User "root";',
    'APT::Compressor::gzip::Binary "/tmp/x";',
    'Acquire::http::Proxy "DIRECT";',
    'Acquire::http::Proxy-Auto-Detect "/tmp/x";',
    'Acquire::https::Verify-Peer "false";',
    'Acquire::https::SslKey "/etc/shadow";',
    'Acquire::AllowInsecureRepositories "true";',
    'Acquire::AllowWeakRepositories "true";',
    'APT::Architecture "amd64";',
    'APT::Default-Release "x"; Dir "/";',
    'APT::Default-Release "x\nDir";',
    'APT::Install-Suggests "maybe";',
    'APT::Never-MarkAuto-Sections:: "a";b";',
    'APT::NeverAutoRemove:: "a\\";',
    'APT::NeverAutoRemove::x "a";',
    '#include "/etc/shadow";',
    '#clear Dir;',
  ];
  assert.equal(choosingOptions(hostile), []);
});

test('a list without end is cut off', () => {
  const lines = Array.from({ length: 10_000 }, (_, index) => `APT::NeverAutoRemove:: "${index}";`);
  assert.is(choosingOptions(lines).length, 500);
});

const folders = { etc: '/w/etc', state: '/w/state', log: '/w/log', cache: '/w/cache' };
const render = (imageAptVersion: string, workerAptVersion: string, configuration: readonly string[] = []) => {
  const state = { configuration, certificates: Buffer.alloc(0) };
  return renderWorkerConfiguration({
    folders,
    architectures: ['amd64', 'i386'],
    imageAptVersion,
    workerAptVersion,
    state,
  });
};

test('features that the image’s apt does not have are switched off in the worker’s', () => {
  assert.match(render('2.4.5', '2.6.1'), 'APT::Get::Upgrade-By-Source-Package "false";');
  assert.match(render('2.7.14', '2.6.1'), 'APT::Get::Upgrade-By-Source-Package "true";');
  assert.not.match(render('3.2.0', '2.6.1', ['APT::Solver "3.0";']), 'Solver');
  assert.match(render('2.7.14', '3.0.3'), 'APT::Solver "internal";');
  assert.match(render('3.2.0', '3.0.3', ['APT::Solver "3.0";']), 'APT::Solver "3.0";');
  assert.match(render('3.2.0', '3.0.3', ['APT::Solver "/tmp/x";']), 'APT::Solver "internal";');
});

test('architectures are those of the image’s configuration, or else of its dpkg', () => {
  const state = (text: string) => stateOf([{ kind: 'configuration', name: '-', content: Buffer.from(text) }], '2.4.5');
  const dump = 'APT::Architectures "";\nAPT::Architectures:: "arm64";\nAPT::Architectures:: "armhf";\n';
  assert.equal(architecturesOf(state(dump), 'arm64', []), ['arm64', 'armhf']);
  assert.equal(architecturesOf(state(''), 'amd64', ['i386', 'a"; Dir "']), ['amd64', 'i386']);
});

test('pins of source packages count only where the image’s apt knows them', () => {
  const text =
    'Package: src:nginx\nPin: version 1\nPin-Priority: 1\n\nPackage: a src:b\nPin: version 2\nPin-Priority: 2\n';
  assert.is(readPreferences(text, '2.2.4'), text);
  assert.is(readPreferences(text, '2.0.9'), 'Package: a\nPin: version 2\nPin-Priority: 2\n');
});

test('pins with nothing in between but millions of newlines, or between them, are read', () => {
  const newlines = '\n'.repeat(4 * 2 ** 20);
  assert.is(readPreferences(newlines, '2.0.9').trim(), '');
  const text = `Package: a src:b\nPin: version 1${newlines}Package: src:c\nPin: version 2`;
  assert.is(readPreferences(text, '2.0.9'), 'Package: a\nPin: version 1\n');
});

test.run();
