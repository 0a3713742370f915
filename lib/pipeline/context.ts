import type { BuildStep } from '../api/event.ts';
import type { PlannedInstallation } from '../apt/planned.ts';
import type { FolderSettings } from '../config/folders.ts';
import type { GuestSettings } from '../config/guest.ts';
import type { ImageSettings } from '../config/image.ts';
import type { LimitSettings } from '../config/limits.ts';
import type { PackageSettings } from '../config/packages.ts';
import type { ProvenanceSettings } from '../config/provenance.ts';
import type { ToolSettings } from '../config/tools.ts';
import type { VerificationSettings } from '../config/verification.ts';
import type { ImageBuilderError } from '../errors.ts';
import type { AptCache } from '../fetch/apt-cache.ts';
import type { FetchObserver } from '../fetch/observer.ts';
import type { ChosenGuest } from '../guest/choose.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import type { HttpClient } from '../http/client.ts';
import type { DiskSpace } from '../limits/disk-space.ts';
import type { OutputLimit } from '../limits/output-limit.ts';
import type { Log } from '../log.ts';
import type { ChosenStores } from '../store/choose.ts';
import type { ImageRoom } from './image-room.ts';
import type { BuildReporter } from './reporter.ts';

/** Tools that all builds of a process share. */
export interface BuildTools {
  readonly client: HttpClient;
  readonly aptCache: AptCache;
  /** How images are opened here, with the reason. Tried once per process. */
  readonly chooseGuest: () => Promise<ChosenGuest>;
  /** Sees what goes to servers and comes from them; missing where nobody counts. */
  readonly observer?: (FetchObserver & { stored(store: string, bytes: number): void }) | undefined;
  /** The store for images of a kind. */
  readonly storeFor: ChosenStores['for'];
  readonly settings: FolderSettings &
    Pick<GuestSettings, 'vmNetwork'> &
    ImageSettings &
    LimitSettings &
    PackageSettings &
    ProvenanceSettings &
    ToolSettings &
    VerificationSettings;
}

/** Everything that belongs to one attempt at a build. */
export interface BuildContext {
  /** Aborted, with the reason, when the build has to end. */
  readonly signal: AbortSignal;
  readonly reporter: BuildReporter;
  readonly log: Log;
  /** Called when a step has ended; must not throw. Missing where nobody counts. */
  readonly onStepEnd?: (ended: EndedStep) => void;
  /** A person that looks into this build; missing for builds of a worker. */
  readonly visitor?: Visitor;
}

/** A step of an attempt that has ended. */
export interface EndedStep {
  readonly step: BuildStep;
  readonly startedAt: Date;
  readonly endedAt: Date;
  readonly seconds: number;
  /** The reason of its failure; null where it has not failed. */
  readonly error: ImageBuilderError | null;
}

/** A person's looks into a build while it runs. */
export interface Visitor {
  /** True to leave the work directory, with the overlay in it, where it is. */
  readonly keepWorkDirectory: boolean;
  /** Called after each step, and the build goes on when it resolves. Throwing ends the build. */
  visit(stop: Stop): Promise<void>;
  /** Where it is there: called with what the installation would change, in place of the first change. */
  readonly onPlan?: (plan: PlannedInstallation) => void;
}

/** A place in a build where it waits for its visitor. */
export interface Stop {
  readonly step: BuildStep;
  /** Runs scripts inside the image; null while no image is open. */
  readonly inside: ScriptRunner | null;
  /** True for a step that has failed. The build ends with its error after the visit. */
  readonly failed: boolean;
}

/** The same with the limits of the attempt, which can abort the signal too. */
export interface LimitedContext extends BuildContext {
  readonly space: DiskSpace;
  readonly output: OutputLimit;
  readonly room: ImageRoom;
}
