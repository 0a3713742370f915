/**
 * The plan of a soak, as a function of its seed alone: its submissions, and its faults with the submission each
 * follows.
 */

export interface Plan {
  readonly submissions: readonly Submission[];
  readonly faults: readonly PlannedFault[];
}

/** The kinds of submission, by the submitter's acts. `equal`: the same request several times at once. */
const submissionKinds = {
  plain: 50,
  equal: 10,
  'cancel by DELETE': 8,
  'cancel by cancel_url': 8,
  'unknown package': 6,
  'unknown PPA': 4,
  'failing script': 4,
  invalid: 10,
} as const;
export type SubmissionKind = keyof typeof submissionKinds;

export interface Submission {
  readonly kind: SubmissionKind;
  readonly index: number;
  /** Index of the submitter: each has an exchange of its own. */
  readonly submitter: number;
  readonly packages: readonly string[];
  /** Whether the submission has a callback, too. */
  readonly callback: boolean;
  /** For submissions that are cancelled: time after their acceptance. */
  readonly cancelAfterMs: number;
}

/** Faults with their relative frequency. */
const faultKinds = {
  'worker killed': 10,
  'worker killed with everything that it had started': 8,
  'worker told to stop': 8,
  'worker frozen for longer than a lease': 3,
  'supervisor killed': 5,
  'storage daemon killed': 5,
  'apt killed': 5,
  'build-image killed': 4,
  'RabbitMQ restarted': 3,
  'RabbitMQ killed': 2,
  'connections closed': 6,
  'memory alarm': 3,
  'image server stalls': 4,
  'image server cuts': 5,
  'image server answers 503': 4,
  'PPA answers 503': 4,
  'PPA stalls': 4,
  'PPA cuts': 4,
  'exchange absent': 5,
  'callbacks refused': 5,
} as const;
export type FaultKind = keyof typeof faultKinds;

export interface PlannedFault {
  readonly kind: FaultKind;
  /** Index of the submission after which the fault is injected … */
  readonly afterSubmission: number;
  /** … so much later … */
  readonly delayMs: number;
  /** … and for so long, where it lasts. */
  readonly lastsMs: number;
  /** Which one of several processes the fault hits: 0 to 1. */
  readonly pick: number;
}

export const submitters = 5;
/** Packages of the PPA without effects. */
export const plainPackages = ['libfoo', 'pack-a', 'pack-b', 'pack-c'];
/** Faults per submission, on average. */
const faultRate = 0.5;

export function makePlan(seed: number, builds: number): Plan {
  const random = generator(seed);
  const between = (low: number, high: number) => Math.round(low + random() * (high - low));
  const submissions: Submission[] = [];
  const faults: PlannedFault[] = [];
  for (let index = 0; index < builds; index += 1) {
    submissions.push({
      kind: weighted(submissionKinds, random()),
      index,
      submitter: Math.floor(random() * submitters),
      packages: plainPackages.filter(() => random() < 0.4),
      callback: random() < 0.4,
      cancelAfterMs: between(0, 5_000),
    });
    if (random() < faultRate) {
      faults.push({
        kind: weighted(faultKinds, random()),
        afterSubmission: index,
        delayMs: between(0, 5_000),
        lastsMs: between(500, 6_000),
        pick: random(),
      });
    }
  }
  return { submissions, faults };
}

function weighted<Kind extends string>(weights: Readonly<Record<Kind, number>>, random: number): Kind {
  const entries = Object.entries(weights) as [Kind, number][];
  let rest = random * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [kind, weight] of entries) {
    rest -= weight;
    if (rest < 0) return kind;
  }
  throw new RangeError('the random number is not below 1');
}

/** Numbers from 0 to below 1, the same for the same seed: mulberry32. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
