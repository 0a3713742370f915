import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';

/** A program that the charm has called. */
export interface Call {
  readonly tool: string;
  readonly words: readonly string[];
  /** Standard input, where a word is `-`. */
  readonly input: string;
  readonly environment: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Sends its name, its words, its environment and its input to a socket, and does what the answer says. */
const client = (socket: string): string => `#!/usr/bin/perl
use strict; use Socket;
my ($tool) = $0 =~ m{([^/]+)$};
my $input = '';
if (grep { $_ eq '-' } @ARGV) { local $/; $input = <STDIN> // ''; }
socket(my $peer, PF_UNIX, SOCK_STREAM, 0) or die "socket: $!";
connect($peer, sockaddr_un('${socket}')) or die "connect: $!";
my @parts = ($tool, scalar(@ARGV), @ARGV, $input, map { "$_=$ENV{$_}" } keys %ENV);
my $message = join '', map { pack('N/a*', $_) } @parts;
select((select($peer), $| = 1)[0]);
print $peer $message;
shutdown($peer, 1);
my $answer = do { local $/; <$peer> };
my ($code, $stdout, $stderr) = unpack('N N/a* N/a*', $answer);
print STDOUT $stdout; print STDERR $stderr;
exit $code;
`;

/**
 * Puts programs of these names into `folder`; each call of one is answered by `answer`, in this process. Gives back the
 * server that they talk to.
 */
export async function installTools(
  folder: string,
  names: readonly string[],
  answer: (call: Call) => Answer | Promise<Answer>,
): Promise<Server> {
  await mkdir(folder, { recursive: true });
  const socket = join(folder, '.socket');
  for (const name of names) {
    await writeFile(join(folder, name), client(socket));
    await chmod(join(folder, name), 0o755);
  }
  const server = createServer({ allowHalfOpen: true }, (peer) => void serve(peer, answer));
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  return server;
}

async function serve(peer: Socket, answer: (call: Call) => Answer | Promise<Answer>): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of peer) chunks.push(chunk as Buffer);
  const { exitCode, stdout, stderr } = await answer(readCall(Buffer.concat(chunks)));
  peer.end(
    Buffer.concat([
      number(exitCode),
      ...[stdout, stderr].flatMap((text) => [number(Buffer.byteLength(text)), Buffer.from(text)]),
    ]),
  );
}

function readCall(message: Buffer): Call {
  const parts: string[] = [];
  for (let at = 0; at < message.length; ) {
    const length = message.readUInt32BE(at);
    parts.push(message.toString('utf8', at + 4, at + 4 + length));
    at += 4 + length;
  }
  const [tool = '', count = '0', ...rest] = parts;
  const words = rest.slice(0, Number(count));
  const [input = '', ...variables] = rest.slice(Number(count));
  const environment = Object.fromEntries(
    variables.map((one) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]),
  );
  return { tool, words, input, environment };
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
