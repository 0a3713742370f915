import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { Hook } from '../hook.ts';
import { actionLog, setResults } from '../hook-tools.ts';
import { callOf, type ProgramCall, requireService } from './program.ts';
import { resultText } from './result-text.ts';
import type { Parameters } from './run-action.ts';

/** The parts of a build that are looked at, as the API has them. */
interface Build {
  readonly build_id?: string;
  readonly state?: string;
  readonly step?: string | null;
  readonly error?: { readonly code?: string; readonly message?: string } | null;
  readonly image?: { readonly id: string; readonly location: string } | null;
}

/** The action `build`. */
export async function build(hook: Hook, parameters: Parameters): Promise<void> {
  requireService(hook);
  const request = requestOf(parameters);
  const follow = parameters.wait !== false;
  const call = callOf(hook, ['build', '--json', '--request', '-', ...(follow ? [] : ['--no-follow'])]);
  const { last, exitCode, errors } = await runBuild(call, request);
  if (last?.build_id === undefined) throw new Error(errors || `the command ended with ${exitCode}`);
  setResults(resultsOf(last));
  if (exitCode !== 0) throw new Error(last.error?.message ?? (errors || `the build is ${last.state}`));
}

/** The body of the submission. Throws where parameters contradict each other or are missing. */
export function requestOf(parameters: Parameters): string {
  // `image-type` has a default, and is always there.
  const { request, wait: _wait, 'image-type': kind = 'cloud', ...parts } = parameters;
  const given = Object.keys(parts).filter((name) => parts[name] !== undefined);
  if (typeof request === 'string') {
    if (given.length > 0) throw new Error(`request holds the whole request: leave out ${given.join(', ')}`);
    return request;
  }
  const missing = ['series', 'image-url'].filter((name) => !given.includes(name));
  if (missing.length > 0) throw new Error(`${missing.join(' and ')} must be given, or a whole request`);
  return JSON.stringify({
    ticket_id: parts['ticket-id'] ?? `action-${randomUUID()}`,
    base_image: {
      image_type: kind,
      url_list: [parts['image-url']],
      series: parts.series,
      ...(parts.checksum === undefined ? {} : { checksum: parts.checksum }),
    },
    ppa_list: parts.ppas ?? [],
    package_list: parts.packages ?? [],
    progress_trigger: parts['progress-trigger'] ?? 'imagebuilder-action',
  });
}

/** Runs the command, and says in the action's log which steps the build is at. */
async function runBuild(
  { program, words, environment }: ProgramCall,
  request: string,
): Promise<{ readonly last: Build | null; readonly exitCode: number | null; readonly errors: string }> {
  const child = spawn(program, words, { env: environment, stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject).once('close', (code) => resolve(code));
  });
  child.stdin.on('error', () => {
    // The command has ended without reading it, and says why.
  });
  child.stdin.end(request);
  const errors = text(child.stderr);
  let last: Build | null = null;
  let said = '';
  for await (const line of createInterface({ input: child.stdout })) {
    last = JSON.parse(line) as Build;
    const now = [last.build_id, last.state, last.step].filter(Boolean).join(' ');
    if (now !== said) actionLog(now);
    said = now;
  }
  const exitCode = await ended;
  return { last, exitCode, errors: (await errors).trim().split('\n').slice(-5).join('\n') };
}

function resultsOf(last: Build): Record<string, string> {
  const { build_id = '', state = 'accepted', image } = last;
  // A signed URL lets anybody download the image, and results of actions are kept for all users of the model.
  const shown = JSON.stringify(last, (key, value: unknown) => (key.startsWith('download_url') ? undefined : value));
  return {
    'build-id': build_id,
    state,
    ...(image ? { 'image-id': image.id, location: image.location } : {}),
    build: resultText(shown),
  };
}
