import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { orAborted } from '#lib/async.ts';
import { type ErrorCode, ImageBuilderError } from '#lib/errors.ts';
import type { Accelerator } from '#lib/guest/vm/machine.ts';
import { reach, whyUnreadable } from '../lab/reach.ts';
import type { Job } from './job.ts';
import type { BuildTimes, Measurement } from './measure.ts';
import { withPeakMemory } from './memory.ts';
import type { Part } from './parts.ts';

export type FromBuilder =
  | { readonly type: 'ready'; readonly accelerator: Accelerator | null }
  | ({ readonly type: 'built' } & BuildTimes)
  | {
      readonly type: 'failed';
      readonly code: ErrorCode;
      readonly message: string;
      readonly logTail: readonly string[];
    };

export type BuildMeasurement = Measurement & BuildTimes;

export type GuestKind = 'host' | 'vm';

/** A process that builds with one of the guests. Disposing ends it, together with its work. */
export interface Builder extends AsyncDisposable {
  readonly guest: GuestKind;
  /** How the vm runs: `kvm` or `tcg`; null for the host guest. */
  readonly accelerator: Accelerator | null;
  readonly processId: number;
  /** One build, from the fetch to the store. The image is removed again. */
  build(job: Job): Promise<BuildMeasurement>;
}

export interface BuilderOptions {
  readonly guest: GuestKind;
  /** Folder for caches that stay, for this builder alone. */
  readonly cacheDirectory: string;
  /** An empty folder, for all other files. */
  readonly directory: string;
  /** Settings, by their environment variables. With IMAGEBUILDER_AMQP_URL, builds have a log and are counted. */
  readonly environment: Readonly<Record<string, string>>;
  /** Parts that its builds go without. */
  readonly without?: readonly Part[];
  readonly signal: AbortSignal;
}

const nobody = 65_534;
const repository = dirname(import.meta.dirname);

/**
 * Starts a builder; one with the vm guest has no privileges, even where this process has. Throws `guest.unavailable`
 * with all missing parts where this machine cannot have that guest.
 */
export async function startBuilder(options: BuilderOptions): Promise<Builder> {
  const { guest, cacheDirectory, directory, signal } = options;
  const user = guest === 'vm' && process.getuid?.() === 0 ? await unprivilegedUser() : null;
  for (const folder of [cacheDirectory, directory]) {
    await mkdir(folder, { recursive: true });
    if (user !== null) await chown(folder, user.uid, user.gid);
  }
  const [program = '', ...words] = [
    ...(user === null ? [] : asUser(user)),
    ...[process.execPath, '--import', join(import.meta.dirname, 'without.ts')],
    join(import.meta.dirname, 'builder.ts'),
  ];
  const child = spawn(program, words, {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: {
      ...options.environment,
      PATH: process.env.PATH ?? '',
      BENCH_WITHOUT: (options.without ?? []).join(' '),
      IMAGEBUILDER_GUEST: guest,
      IMAGEBUILDER_CACHE_DIRECTORY: cacheDirectory,
      IMAGEBUILDER_WORK_DIRECTORY: join(directory, 'work'),
      IMAGEBUILDER_STORE_DIRECTORY: join(directory, 'store'),
    },
  });
  const gone = new AbortController();
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  }).then(() =>
    gone.abort(new ImageBuilderError('guest.unavailable', `the builder with the ${guest} guest has ended`)),
  );
  const end = async () => {
    if (child.connected) child.disconnect();
    await ended;
  };
  const answer = async (): Promise<FromBuilder> => {
    const [message] = (await orAborted(once(child, 'message'), signal, gone.signal)) as [FromBuilder];
    if (message.type !== 'failed') return message;
    throw new ImageBuilderError(message.code, `${guest} guest: ${message.message}`, { logTail: message.logTail });
  };
  try {
    const ready = await answer();
    const processId = child.pid ?? 0;
    return {
      guest,
      accelerator: ready.type === 'ready' ? ready.accelerator : null,
      processId,
      async build(job) {
        const { value, peakBytes } = await withPeakMemory({ root: processId }, () => {
          child.send(job);
          return answer();
        });
        if (value.type !== 'built') throw new ImageBuilderError('internal', `a builder answered with ${value.type}`);
        const { steps, totalSeconds, processorSeconds } = value;
        return { steps, totalSeconds, processorSeconds, peakBytes };
      },
      [Symbol.asyncDispose]: end,
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/** Words that, before a command, run it as that user, who can reach this clone wherever it lies. */
function asUser({ uid, gid }: { uid: number; gid: number }): string[] {
  const unreadable = whyUnreadable(repository);
  if (unreadable !== null) throw new ImageBuilderError('guest.unavailable', unreadable);
  return [...reach(repository), 'setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--'];
}

/** A user without rights, but for those of the group of /dev/kvm. */
async function unprivilegedUser(): Promise<{ uid: number; gid: number }> {
  const group = await stat('/dev/kvm').then(
    ({ gid }) => gid,
    () => 0,
  );
  return { uid: nobody, gid: group === 0 ? nobody : group };
}
