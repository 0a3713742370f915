import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { PpaSource } from '#lib/apt/launchpad.ts';
import { parseMessages } from '#lib/apt/message.ts';
import { updateLists } from '#lib/apt/update.ts';
import { updateError, updateWarnings } from '#lib/apt/update-failure.ts';
import { type ErrorCode, ImageBuilderError } from '#lib/errors.ts';
import type { GuestSession } from '#lib/guest/guest.ts';

const ppa: PpaSource = {
  ppa: { owner: 'project', name: 'tools' },
  url: 'https://ppa.example.com/project/tools/ubuntu',
  key: { fingerprint: 'A'.repeat(40), armored: '', binary: new Uint8Array(), weakness: null },
};

/** Outputs of releases of apt-get, each with its meaning. */
const generations: readonly {
  readonly what: string;
  readonly output: string;
  readonly exitCode: number;
  readonly code: ErrorCode;
  readonly message: RegExp;
}[] = [
  {
    what: 'apt 1.0 (trusty), PPA without the series',
    exitCode: 100,
    output: `Ign http://ppa.example.com trusty InRelease
Ign http://ppa.example.com trusty Release.gpg
Err http://ppa.example.com trusty/main amd64 Packages
  404  Not Found
W: Failed to fetch http://ppa.example.com/project/tools/ubuntu/dists/trusty/main/binary-amd64/Packages  404  Not Found

E: Some index files failed to download. They have been ignored, or old ones used instead.`,
    code: 'ppa.series',
    message: /^ppa:project\/tools publishes nothing for "trusty"/,
  },
  {
    what: 'apt 1.0 (trusty), key missing, which is only a warning there',
    exitCode: 0,
    output: `W: GPG error: http://ppa.example.com trusty Release: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 64A9CDD77362E5D0`,
    code: 'apt.signature',
    message: /NO_PUBKEY/,
  },
  {
    what: 'apt 1.0 (trusty), nobody there',
    exitCode: 0,
    output: `Err http://archive.example.com trusty InRelease
  
W: Failed to fetch http://archive.example.com/ubuntu/dists/trusty/InRelease  Unable to connect to archive.example.com:http:

W: Some index files failed to download. They have been ignored, or old ones used instead.`,
    code: 'upstream.unreachable',
    message: /image's own source http:\/\/archive\.example\.com\/ubuntu for "trusty" cannot be reached/,
  },
  {
    what: 'apt 1.2 (xenial), the image’s release has moved away',
    exitCode: 100,
    output: `Err:7 http://archive.example.com/ubuntu zesty Release
  404  Not Found [IP: 192.0.2.1 80]
E: The repository 'http://archive.example.com/ubuntu zesty Release' does not have a Release file.
N: Updating from such a repository can't be done securely, and is therefore disabled by default.
N: See apt-secure(8) manpage for repository creation and user configuration details.`,
    code: 'apt.repository',
    message: /^the image's own source http:\/\/archive\.example\.com\/ubuntu for "zesty" is not there/,
  },
  {
    what: 'apt 2.6 (bookworm), signed by another key',
    exitCode: 100,
    output: `Err:2 https://ppa.example.com/project/tools/ubuntu noble InRelease
  The following signatures couldn't be verified because the public key is not available: NO_PUBKEY D354FD3102F4ADB5
W: GPG error: https://ppa.example.com/project/tools/ubuntu noble InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY D354FD3102F4ADB5
E: The repository 'https://ppa.example.com/project/tools/ubuntu noble InRelease' is not signed.`,
    code: 'apt.signature',
    message: /^ppa:project\/tools is not signed by the key that it should be/,
  },
  ...(
    [
      ['EXPKEYSIG', 'has expired', /^ppa:project\/tools is signed by a key that has expired \(its owner has to extend/],
      ['REVKEYSIG', 'was revoked', /^ppa:project\/tools is signed by a key that its owner has revoked/],
    ] as const
  ).map(([word, state, message]) => ({
    what: `apt 2.6 (bookworm), signed by a key that ${state}`,
    exitCode: 100,
    output: `W: GPG error: https://ppa.example.com/project/tools/ubuntu noble InRelease: The following signatures were invalid: ${word} D354FD3102F4ADB5 Launchpad PPA for Project
E: The repository 'https://ppa.example.com/project/tools/ubuntu noble InRelease' is not signed.`,
    code: 'apt.signature' as const,
    message,
  })),
  {
    what: 'apt 3.0 (sqv), signed by another key',
    exitCode: 100,
    output: `Err:1 http://ppa.example.com/project/tools/ubuntu plucky InRelease
  Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key D354FD31, which is needed to verify signature.
W: OpenPGP signature verification failed: http://ppa.example.com/project/tools/ubuntu plucky InRelease: Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key D354FD31, which is needed to verify signature.
E: The repository 'http://ppa.example.com/project/tools/ubuntu plucky InRelease' is not signed.`,
    code: 'apt.signature',
    message: /^ppa:project\/tools/,
  },
  {
    what: 'apt 2.6, old lists stand in for a bad signature',
    exitCode: 0,
    output: `W: An error occurred during the signature verification. The repository is not updated and the previous index files will be used. GPG error: http://archive.example.com/debian bookworm InRelease: The following signatures were invalid: BADSIG 0E98404D386FA1D9 Debian Archive
W: Failed to fetch http://archive.example.com/debian/dists/bookworm/InRelease  The following signatures were invalid: BADSIG 0E98404D386FA1D9 Debian Archive
W: Some index files failed to download. They have been ignored, or old ones used instead.`,
    code: 'apt.signature',
    message: /BADSIG/,
  },
  {
    what: 'a mirror in the middle of its own update',
    exitCode: 100,
    output: `E: Failed to fetch http://archive.example.com/ubuntu/dists/noble/main/binary-amd64/by-hash/SHA256/ab  Hash Sum mismatch
   Hashes of expected file:
    - Filesize:123 [weak]
    - SHA256:ab
   Hashes of received file:
    - SHA256:cd
E: Some index files failed to download. They have been ignored, or old ones used instead.`,
    code: 'upstream.status',
    message: /out of step/,
  },
  {
    what: 'a release past its Valid-Until',
    exitCode: 100,
    output: `E: Release file for http://archive.example.com/debian/dists/bookworm-updates/InRelease is expired (invalid since 3d 2h 1min 5s). Updates for this repository will not be applied.`,
    code: 'apt.repository',
    message: /outside its time of validity/,
  },
  {
    what: 'a name that DNS does not know',
    exitCode: 100,
    output: `Err:1 http://nowhere.example.com/debian bookworm InRelease
  Could not resolve 'nowhere.example.com'
E: Failed to fetch http://nowhere.example.com/debian/dists/bookworm/InRelease  Could not resolve 'nowhere.example.com'
E: Some index files failed to download. They have been ignored, or old ones used instead.`,
    code: 'upstream.unreachable',
    message: /Could not resolve/,
  },
  {
    what: 'a mirror that is out of order',
    exitCode: 100,
    output: `E: Failed to fetch http://archive.example.com/debian/dists/bookworm/InRelease  503  Service Unavailable [IP: 192.0.2.1 80]`,
    code: 'upstream.unreachable',
    message: /503/,
  },
  {
    what: 'an archive behind a login',
    exitCode: 100,
    output: `E: Failed to fetch https://esm.example.com/ubuntu/dists/trusty/InRelease  401  Unauthorized [IP: 192.0.2.1 443]`,
    code: 'upstream.forbidden',
    message: /https:\/\/esm\.example\.com\/ubuntu.*refuses access/,
  },
  {
    what: 'a source that apt cannot read',
    exitCode: 100,
    output: `E: Malformed entry 1 in list file /etc/apt/sources.list (Suite)
E: The list of sources could not be read.`,
    code: 'apt.repository',
    message: /^a source of the image cannot be used; apt says: Malformed entry 1/,
  },
  {
    what: 'a PPA that the image has among its own sources, with another key',
    exitCode: 100,
    output: `E: Conflicting values set for option Signed-By regarding source https://ppa.example.com/project/tools/ubuntu/ noble: /etc/apt/keyrings/own.gpg !=
E: The list of sources could not be read.`,
    code: 'apt.repository',
    message:
      /^ppa:project\/tools cannot be used: the base image has a source of its own for it.* or the PPA out of ppa_list/,
  },
  {
    what: 'two sources of the image with different keys',
    exitCode: 100,
    output: `E: Conflicting values set for option Signed-By regarding source https://packages.example.com/linux/ubuntu/ noble: /etc/apt/keyrings/own.gpg !=
E: The list of sources could not be read.`,
    code: 'apt.repository',
    message:
      /^the image's own source https:\/\/packages\.example\.com\/linux\/ubuntu.* cannot be used: two sources of the base image name different keys/,
  },
];

for (const { what, output, exitCode, code, message } of generations) {
  test(`update: ${what}`, () => {
    const error = updateError(output.split('\n'), exitCode, { sources: [ppa] });
    assert.is(error?.code, code);
    assert.match(error?.message ?? '', message);
  });
}

test('warnings about tomorrow and notices are no failure', () => {
  const output = `W: http://archive.example.com/dists/x/InRelease: Key is stored in legacy trusted.gpg keyring (/etc/apt/trusted.gpg), see the DEPRECATION section in apt-key(8) for details.
W: https://ppa.example.com/project/tools/ubuntu/dists/noble/InRelease: Signature by key AA uses weak algorithm (rsa1024)
W: Target Packages (main/binary-amd64/Packages) is configured multiple times in /etc/apt/sources.list:1 and /etc/apt/sources.list:2
N: Skipping acquire of configured file 'main/binary-i386/Packages' as repository 'http://x.example.com stable InRelease' doesn't support architecture 'i386'`;
  assert.is(updateError(output.split('\n'), 0, { sources: [] }), null);
});

test('faults that the caller has to mend come first, and none is left out', () => {
  const output = `E: Failed to fetch http://archive.example.com/ubuntu/dists/noble/InRelease  Connection timed out
E: The repository 'https://ppa.example.com/project/tools/ubuntu noble Release' does not have a Release file.`;
  const error = updateError(output.split('\n'), 100, { sources: [ppa] });
  assert.is(error?.code, 'ppa.series');
  assert.match(error?.message ?? '', /^ppa:project\/tools.*archive\.example\.com\/ubuntu.*cannot be reached/);
});

test('an exit code without any message is a failure too', () => {
  assert.is(updateError(['Reading package lists...'], 100, { sources: [] })?.code, 'apt.repository');
});

test('messages are put together from their lines', () => {
  const lines = [
    'Err:1 http://x.example.com a',
    '  404  Not Found',
    'Get:2 y',
    'E: one',
    '   more',
    'W: two',
    'Done',
    ' z',
  ];
  assert.equal(parseMessages(lines), [
    { level: 'error', text: 'one more' },
    { level: 'warning', text: 'two' },
  ]);
});

const sessionThatSays = (lines: readonly string[], statusLines: readonly string[]): GuestSession => ({
  kind: 'host',
  network: true,
  mounted: ['/'],
  notMounted: [],
  async run(script) {
    for (const line of lines) script.onLine?.(line, 'stdout');
    for (const line of statusLines) script.onStatusLine?.(line);
    return { stdout: '', stderr: '' };
  },
  async close() {},
  async [Symbol.asyncDispose]() {},
});
const options = {
  sources: [ppa],
  proxyUrl: null,
  signal: new AbortController().signal,
  onWarning: () => {},
  onProgress: () => {},
};

test('credentials in the URLs of a base image’s sources reach neither the log nor the error', async () => {
  const log: string[] = [];
  const line =
    'E: Failed to fetch https://user:secret@esm.example.com/ubuntu/dists/trusty/InRelease  401  Unauthorized';
  const error = await updateLists(sessionThatSays([line], ['exit:100']), {
    ...options,
    onLog: (text) => log.push(text),
  }).then(
    () => new Error('nothing was thrown'),
    (thrown: unknown) => thrown,
  );
  assert.instance(error, ImageBuilderError);
  assert.not.match(
    JSON.stringify([log, (error as ImageBuilderError).message, (error as ImageBuilderError).logTail]),
    'secret',
  );
});

test('a script that ends without telling apt’s exit code is a failure of the guest', async () => {
  const error = await updateLists(sessionThatSays([], []), { ...options, onLog: () => {} }).catch(
    (thrown: unknown) => thrown,
  );
  assert.is((error as ImageBuilderError).code, 'guest.failed');
});

test('methods that apt lacks, folders and lists of mirrors that are not there are each called that', () => {
  for (const [output, reason] of [
    [
      'E: The method driver /usr/lib/apt/methods/s3 could not be found.\nE: Failed to fetch s3://b/x/dists/stable/InRelease  ',
      /a source of the image is read with "s3", for which builds have no way/,
    ],
    [
      "E: The method 'ssh' is unsupported and disabled by default. Consider switching to http(s).",
      /is read with "ssh", for which/,
    ],
    [
      "E: The repository 'file:/srv/x ./ Release' does not have a Release file.",
      /file:\/\/\/srv\/x.* the image has no such folder/,
    ],
    [
      "E: The repository 'mirror+file:/etc/apt/mirrors/x.list bookworm Release' does not have a Release file.",
      /mirror\+file:\/etc.* for "bookworm" is not there: its list of mirrors/,
    ],
  ] as const) {
    const error = updateError(output.split('\n'), 100, { sources: [] });
    assert.is(error?.code, 'apt.repository');
    assert.match(error?.message ?? '', reason);
    assert.not.match(error?.message ?? '', 'end of life');
  }
  const unsigned = "W: The repository 'http://x.example.com ./ Release' does not have a Release file.";
  const error = updateError([unsigned], 0, { sources: [] });
  assert.match(error?.message ?? '', /or has no Release file; without one, only a source with "trusted=yes" is used/);
});

test('a disc that is not there is left out with a warning, and an unsigned repository that is trusted is one', () => {
  const disc = "E: The repository 'cdrom://[Debian 12 _Bookworm_] bookworm Release' does not have a Release file.";
  assert.is(updateError([disc], 100, { sources: [] }), null);
  assert.match(
    updateWarnings([disc], { sources: [] }).join(),
    /cdrom:\/\/\[Debian 12 _Bookworm_\] bookworm Release is left out/,
  );
  // Ubuntu's media have a source in the folder where the live session mounts them.
  const medium = [
    "E: The repository 'file:/cdrom resolute Release' does not have a Release file.",
    'W: Failed to fetch file:/cdrom/dists/resolute/InRelease  File not found - /cdrom/dists/resolute/InRelease (2: No such file or directory)',
    'W: Some index files failed to download. They have been ignored, or old ones used instead.',
  ];
  assert.is(updateError(medium, 100, { sources: [] }), null);
  assert.equal(updateWarnings(medium.slice(0, 1), { sources: [] }), [
    "the image's own source file:/cdrom resolute Release is left out: it is a CD that is not there",
  ]);
  const unsigned = "E: The repository 'file:/cdrom resolute InRelease' is not signed.";
  assert.is(updateError([unsigned], 100, { sources: [] })?.code, 'apt.signature');
  assert.is(updateError([disc, 'E: Something new'], 100, { sources: [] })?.code, 'apt.repository');
  const lines = [
    'Ign:1 http://a.example.com/x ./ InRelease',
    'Get:2 http://a.example.com/x ./ Release [1 kB]',
    'Ign:3 http://a.example.com/x ./ Release.gpg',
    'Ign:4 http://b.example.com stable Release.gpg',
    'Get:4 http://c.example.com stable Release.gpg [1 kB]',
    'Ign:5 file:/srv/x ./ Release',
  ];
  const warnings = updateWarnings(lines, { sources: [] });
  assert.is(warnings.length, 2);
  assert.match(warnings[0] ?? '', /a\.example\.com\/x.* is used without a signature/);
  assert.match(warnings[1] ?? '', /file:\/\/\/srv\/x.* is used without a signature/);
});

test.run();
