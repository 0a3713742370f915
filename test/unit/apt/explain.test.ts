import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { assertInstalled, reportAsked } from '#lib/apt/asked.ts';
import { explainProblem, explainSuites, isNowhere } from '#lib/apt/explain.ts';
import { parseKnowledge } from '#lib/apt/knowledge.ts';
import { generalReason, type Problem, roundProblems } from '#lib/apt/resolve-problems.ts';
import { nearestNames } from '#lib/spelling.ts';

const known = parseKnowledge(
  `== policy
away:
  Installed: (none)
  Candidate: (none)
  Version table:
     2.0 -1
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
     1.0 -1
        100 http://deb.debian.org/debian bookworm-backports/main amd64 Packages
kept:
  Installed: 1.0
  Candidate: 2.0
  Version table:
     2.0 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
 *** 1.0 100
        100 /var/lib/dpkg/status
old-away:
  Installed: (none)
  Candidate: (none)
  Version table:
     1.0 0
         -1 http://archive.ubuntu.com/ubuntu/ trusty/main amd64 Packages
jq:
  Installed: (none)
  Candidate: 1.6
  Version table:
     1.6 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
== suites
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://deb.debian.org/debian bookworm/non-free amd64 Packages
     release v=12,o=Debian,a=oldstable,n=bookworm,l=Debian,c=non-free,b=amd64
     origin deb.debian.org
 500 http://deb.debian.org/debian bookworm/main amd64 Packages
     release v=12,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
== holds
kept
== architectures
amd64
i386
== names
jq
jqp
libjq1`.split('\n'),
);
const problem = (kind: Problem['kind'], more: Partial<Problem> = {}): Problem => ({
  ...{ kind, text: '', providers: [], replacedBy: [], concerns: [] },
  ...more,
});

test('each kind of problem has words of its own, with the way out', () => {
  for (const [specification, found, words] of [
    ['jq:arm64', problem('unknown'), 'the architecture arm64 is not enabled in the image, which has amd64, i386; list'],
    ['jq:i386', problem('unknown'), 'has it for i386'],
    ['jq+', problem('unknown'), 'ask for jq, without "+"'],
    ['jqq', problem('unknown'), 'did you mean jq or jqp?'],
    ['nothing-like-it', problem('unknown'), 'no repository of the image or of the PPAs has a package of this name'],
    [
      'away',
      problem('no-candidate'),
      'keep apt from all its versions (2.0 in bookworm/main, 1.0 in bookworm-backports/main); ask for one of them, as away=2.0',
    ],
    ['old-away', problem('no-candidate'), 'ask for one of them, as old-away=1.0'],
    [
      'mta',
      problem('no-candidate', { providers: ['exim', 'dma'] }),
      'virtual package; ask for one that provides it: exim, dma',
    ],
    [
      'python',
      problem('no-candidate', { replacedBy: ['python3'] }),
      'obsolete, and no repository has it any more; replaced by python3',
    ],
    ['nvidia', problem('no-candidate'), 'other packages refer to it, but no repository has it'],
    ['jq=9', problem('no-version', { text: '9' }), 'there is no version 9; there is 1.6 in bookworm/main'],
    [
      'jq/sid',
      problem('no-suite', { text: 'sid' }),
      'the suite sid does not have it, or is no source of the image; there is 1.6',
    ],
    [
      'kept',
      problem('held'),
      'held in the base image at 1.0, and would be changed; take the hold off there (apt-mark unhold kept)',
    ],
    ['kept=0.9', problem('downgrade'), 'installed at 1.0, which is newer; "allow_downgrades": true'],
    [
      'x',
      problem('unmet', { text: 'Depends: kept (>= 2)', concerns: ['kept'] }),
      'Depends: kept (>= 2); kept is held in the base image at 1.0',
    ],
    [
      'x',
      problem('unmet', { text: 'Depends: away', concerns: ['away'] }),
      'Depends: away; of away, the pins of the base image',
    ],
  ] as const) {
    const said = explainProblem(specification, found, known);
    assert.ok(said.includes(words), `${specification}: ${said}`);
  }
});

test('the suites that apt has looked in are listed for packages that are nowhere, and for no others', () => {
  assert.match(explainSuites(known), /looked in bookworm non-free main; .* among its sources/);
  assert.match(explainSuites({ ...known, suites: [] }), /no source of its own/);
  const cases = [
    ['jqq', problem('unknown')],
    ['nvidia', problem('no-candidate')],
    ['jq:arm64', problem('unknown')],
    ['away', problem('no-candidate')],
    ['mta', problem('no-candidate', { providers: ['exim'] })],
    ['jq=9', problem('no-version')],
  ] as const;
  assert.equal(
    cases.filter(([name, found]) => isNowhere(name, found, known)).map(([name]) => name),
    ['jqq', 'nvidia'],
  );
});

test('changes that apt refuses are those of the packages that it lists', () => {
  const policy = ['kept:', 'older:', 'jq:'];
  for (const [kind, simulation] of [
    [
      'held',
      'The following held packages will be changed:\n  kept foe\nThe following packages will be upgraded:\n  kept jq\nE: Held packages were changed and -y was used without --allow-change-held-packages.',
    ],
    [
      'downgrade',
      'The following packages will be DOWNGRADED:\n  foe kept\n0 upgraded\nE: Packages were downgraded and -y was used without --allow-downgrades.',
    ],
  ] as const) {
    const found = roundProblems({ policy, plan: simulation.split('\n'), exitCode: 100 }, ['kept=1', 'jq']);
    assert.equal(
      [...found].map(([name, { kind: is }]) => [name, is]),
      [['kept=1', kind]],
    );
  }
});

test('a change that none of the packages is named for is described by the packages that it would hit', () => {
  const simulation = `The following packages will be REMOVED:
  dpkg foe
WARNING: The following essential packages will be removed.
This should NOT be done unless you know exactly what you are doing!
  dpkg tar (due to dpkg)
0 upgraded, 0 newly installed, 2 to remove and 0 not upgraded.
E: Essential packages were removed and -y was used without --allow-remove-essential.`;
  assert.match(
    generalReason(simulation.split('\n'), 100),
    /^they would remove dpkg, tar, which the system cannot do without/,
  );
});

test('names nearest to a misspelt one are found, and a long or short one suggests nothing far', () => {
  assert.equal(nearestNames('pyhton3', ['python3', 'python3.11', 'perl']), ['python3']);
  assert.equal(nearestNames('jq', ['gq', 'aa', 'jqp', 'bash', 'qj']), ['gq', 'jqp', 'qj']);
  assert.equal(nearestNames('hello-fna', ['hello-fan', 'hello-one']), ['hello-fan']);
  assert.equal(nearestNames('x'.repeat(5_000), ['x'.repeat(5_000)]), []);
});

const installed = (name: string, architecture = 'amd64') => ({
  name,
  architecture,
  version: '1',
  state: 'installed' as const,
});

test('a package that is not there by the name that was asked for is a warning, one that stays as it was a notice', () => {
  const { warnings, notices } = reportAsked(
    ['exim', 'mta', 'ghost=1', 'bash', 'libc6:i386', 'libc6:arm64', 'tree:any', 'tree:any', 'doc:i386'],
    {
      plan: { instead: new Map([['mta', 'exim']]) },
      packages: [
        installed('exim'),
        installed('bash'),
        installed('libc6', 'i386'),
        installed('tree'),
        installed('doc', 'all'),
      ],
      changed: [
        { name: 'exim', version: '1' },
        { name: 'libc6:i386', version: '1' },
        { name: 'doc', version: '1' },
      ],
    },
  );
  assert.equal(warnings, [
    'mta was asked for and is not installed under that name: apt took exim, which alone provides it',
    'ghost was asked for and is not installed under that name',
    'libc6:arm64 was asked for and is not installed under that name',
  ]);
  assert.equal(
    notices.map((notice) => notice.split(' ')[0]),
    ['bash', 'tree:any'],
  );
});

test('an installation without a package of its plan fails, also where apt sees no error', () => {
  const packages = [installed('tree'), installed('doc', 'all'), installed('libc6', 'i386')];
  assertInstalled({ install: ['doc', 'libc6:i386', 'tree'] }, packages, 'amd64');
  const half = { ...installed('jq'), state: 'unfinished' } as const;
  const install = ['doc', 'jq', 'libc6', 'nginx'];
  assert.throws(
    () => assertInstalled({ install }, [...packages, half], 'amd64'),
    /has not installed jq, libc6, nginx:/,
  );
});

test.run();
