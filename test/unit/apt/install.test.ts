import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { installError } from '#lib/apt/install.ts';
import { parsePlan } from '#lib/apt/plan.ts';
import { roundProblems } from '#lib/apt/resolve-problems.ts';
import { ImageBuilderError } from '#lib/errors.ts';

const round = (policy: string, simulation: string, exitCode = 100) => ({
  policy: policy.split('\n'),
  plan: simulation.split('\n'),
  exitCode,
});

const policyOf = (...names: string[]) =>
  names.map((name) => `${name}:\n  Installed: (none)\n  Candidate: 1.0\n  Version table:`).join('\n');

test('a name that apt would take for a pattern or a removal is simply not there', () => {
  const problems = roundProblems(round(policyOf('bash', 'hello'), ''), ['bash-', 'b.sh', 'hello']);
  assert.equal([...problems.keys()], ['bash-', 'b.sh']);
});

test('versions, suites, virtual packages and packages without a candidate each have their reason', () => {
  const simulation = `Package mta is a virtual package provided by:
  postfix 3.7
  exim4 4.96
You should explicitly select one to install.

Package ghost is not available, but is referred to by another package.
However the following packages replace it:
  ghost2 spook

E: Package 'mta' has no installation candidate
E: Package 'ghost' has no installation candidate
E: Version '9' for 'a' was not found
E: Release 'sid' for 'b' was not found`;
  const names = ['mta', 'ghost', 'a=9', 'b/sid', 'c'];
  const problems = roundProblems(round(policyOf('mta', 'ghost', 'a', 'b', 'c'), simulation), names);
  assert.equal([...problems.keys()], ['mta', 'ghost', 'a=9', 'b/sid']);
  const reasons = [...problems.values()].map(({ kind, text, providers, replacedBy }) => [
    kind,
    text,
    providers,
    replacedBy,
  ]);
  assert.equal(reasons, [
    ['no-candidate', '', ['postfix', 'exim4'], []],
    ['no-candidate', '', [], ['ghost2', 'spook']],
    ['no-version', '9', [], []],
    ['no-suite', 'sid', [], []],
  ]);
});

test('unmet dependencies are reported package by package, whatever the release of apt calls them', () => {
  for (const title of ['The following packages have unmet dependencies:', 'Unsatisfied dependencies:']) {
    const simulation = `${title}
 a : Depends: x (>= 2) but it is not installable
     Depends: y but it is not going to be installed
 b:i386 : Conflicts: c but 1.0 is to be installed
E: Unable to correct problems, you have held broken packages.`;
    const problems = roundProblems(round(policyOf('a', 'b', 'c'), simulation), ['a', 'b', 'c']);
    assert.equal(
      [...problems].map(([name, { text, concerns }]) => [name, text, concerns]),
      [
        [
          'a',
          'Depends: x (>= 2) but it is not installable, Depends: y but it is not going to be installed',
          ['x', 'y'],
        ],
        ['b', 'Conflicts: c but 1.0 is to be installed', ['c']],
      ],
    );
  }
});

test('the contradictions of apt 3’s own solver name the packages that are in them', () => {
  const simulation = `E: Unable to satisfy dependencies. Reached two conflicting assignments:
   1. a:amd64=1.3 is selected for install
   2. a:amd64 Depends libsoup (>= 2.74)
      but none of the choices are installable:
      [no choices]`;
  const problems = roundProblems(round(policyOf('a', 'b'), simulation), ['a', 'b']);
  assert.equal([...problems.keys()], ['a']);
  assert.match(problems.get('a')?.text ?? '', /a:amd64 Depends libsoup \(>= 2\.74\) but none of the choices/);
});

test('a release that the image prefers without having a source of it is the reason, and no package is called unknown', () => {
  const said =
    "E: The value 'warty' is invalid for APT::Default-Release as such a release is not available in the sources";
  assert.throws(
    () => roundProblems(round('', said), ['jq']),
    ({ code, message }: ImageBuilderError) => code === 'apt.package' && message.includes('prefers the release "warty"'),
  );
});

test('packages of the base image that do not fit together are the image’s fault', () => {
  const simulation = `You might want to run 'apt --fix-broken install' to correct these.
The following packages have unmet dependencies:
 old : Depends: gone but it is not installed
E: Unmet dependencies. Try 'apt --fix-broken install' with no packages (or specify a solution).`;
  try {
    roundProblems(round(policyOf('a'), simulation), ['a']);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, ImageBuilderError);
    assert.is((error as ImageBuilderError).code, 'image.corrupt');
    assert.match((error as ImageBuilderError).message, /old: Depends: gone/);
  }
});

test('a plan lists what is installed, upgraded, downgraded and removed', () => {
  const lines = [
    "Note, selecting 'exim' instead of 'mta'",
    'The following additional packages will be installed:',
    '  libb1',
    'Suggested packages:',
    '  b-doc',
    'The following packages will be REMOVED:',
    '  foe purged* foreign:i386',
    'The following NEW packages will be installed:',
    '  b libb1 c:i386',
    '  d',
    'The following packages will be upgraded:',
    '  a',
    'The following packages will be DOWNGRADED:',
    '  older',
    '1 upgraded, 4 newly installed, 1 downgraded, 3 to remove and 0 not upgraded.',
    'Need to get 1,234 B of archives.',
    "'http://host/pool/b_1_amd64.deb' b_1_amd64.deb 1234 SHA256:00",
  ];
  const install = ['b', 'libb1', 'c:i386', 'd', 'a', 'older'];
  const instead = new Map([['mta', 'exim']]);
  assert.equal(parsePlan(lines), { install, remove: ['foe', 'purged', 'foreign:i386'], instead });
});

const failed = (output: string) => installError({ exitCode: 100, lines: output.split('\n') }, [], { sources: [] });

test('the words in which dpkg itself breaks off are the reason, rather than the code that it ends with', () => {
  const end = 'E: Sub-process /usr/bin/dpkg returned an error code (2)';
  const override = `dpkg: unrecoverable fatal error, aborting:
 unknown system user 'ghost' in statoverride file; the system user got removed
before the override
${end}`;
  const list = `dpkg: unrecoverable fatal error, aborting:
 files list file for package 'x' is missing final newline
(Reading database ... ${end}
hook in /etc/apt/apt.conf.d/70debconf:DPkg::Pre-Install-Pkgs {"/usr/sbin/dpkg-preconfigure --apt || true";};`;
  for (const [output, reason] of [
    [list, /files list file for package 'x' is missing final newline$/],
    [override, /unknown system user 'ghost' in statoverride file; the system user got removed before the override$/],
    [`dpkg: error: error executing hook '/gone', exit code 32512\n${end}`, /fails: error executing hook '\/gone'/],
    [`dpkg: error: configuration error: /etc/dpkg/dpkg.cfg:3: unknown option 'x'\n\n${end}`, /unknown option 'x'$/],
  ] as const) {
    const error = failed(output);
    assert.is(error?.code, 'apt.install');
    assert.match(error?.message ?? '', reason);
  }
});

test('a hook that gets the list of packages is named with its file, as any other hook', () => {
  const error = failed(`E: Sub-process /usr/bin/apt-listbugs apt || exit 10 returned an error code (10)
E: Failure running script /usr/bin/apt-listbugs apt || exit 10
hook in /etc/apt/apt.conf.d/10listbugs:1:DPkg::Pre-Install-Pkgs {"/usr/bin/apt-listbugs apt || exit 10";};`);
  assert.is(error?.code, 'apt.install');
  assert.match(
    error?.message ?? '',
    /^a hook of the base image has failed: '\/usr\/bin\/apt-listbugs apt \|\| exit 10', which \/etc\/apt\/apt\.conf\.d\/10listbugs sets as DPkg::Pre-Install-Pkgs; /,
  );
});

test('a package whose script fails is named with dpkg’s reason, also where only its output has it', () => {
  for (const [output, reason] of [
    [
      'dpkg: error processing package foo (--configure):\n subprocess installed post-installation script returned error exit status 3\nE: Sub-process /usr/bin/dpkg returned an error code (1)',
      'foo: subprocess installed post-installation script returned error exit status 3',
    ],
    [
      "dpkg: error processing archive /var/cache/apt/archives/bar_1.0-1_all.deb (--unpack):\n trying to overwrite '/x', which is also in package foo 1.0",
      "bar: trying to overwrite '/x', which is also in package foo 1.0",
    ],
  ] as const) {
    const error = failed(output);
    assert.is(error?.code, 'apt.install');
    assert.ok(error?.message.endsWith(reason), error?.message);
    assert.ok((error?.logTail.length ?? 0) > 0);
  }
});

test('downloads that fail, full disks, held packages and unsigned ones are distinguished', () => {
  for (const [output, code] of [
    ['E: Failed to fetch http://x.example.com/pool/a.deb  Connection timed out', 'upstream.unreachable'],
    ['E: Failed to fetch http://x.example.com/pool/a.deb  404  Not Found [IP: 192.0.2.1 80]', 'upstream.status'],
    ['E: Failed to fetch http://x.example.com/pool/a.deb  Hash Sum mismatch', 'upstream.status'],
    ["E: You don't have enough free space in /var/cache/apt/archives/.", 'disk.full'],
    [
      "dpkg: error processing archive a.deb (--unpack):\n cannot copy extracted data for './x' to '/x.dpkg-new': failed to write (No space left on device)",
      'image.full',
    ],
    ['E: Held packages were changed and -y was used without --allow-change-held-packages.', 'apt.package'],
    ['E: Essential packages were removed and -y was used without --allow-remove-essential.', 'apt.package'],
    ['E: There were unauthenticated packages and -y was used without --allow-unauthenticated', 'apt.signature'],
    ["E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.", 'image.corrupt'],
    ['E: Something new', 'apt.install'],
  ] as const) {
    assert.is(failed(output)?.code, code, output);
  }
});

test('an exit code of 0 is no failure', () => {
  assert.is(installError({ exitCode: 0, lines: ['E: x'] }, [], { sources: [] }), null);
});

test.run();
