/** The output of scripts/look.sh: what a file system of the image holds, as far as finding its root needs that. */

/** Signs of a root file system. */
export type Evidence = 'etc' | 'fstab' | 'os-release' | 'dpkg';

export interface System {
  /** The subvolume of btrfs that holds it; null where it is what a mount shows without one. */
  readonly subvolume: string | null;
  readonly evidence: ReadonlySet<Evidence>;
  /** The reason why it cannot be the root, in words; null where it may be. */
  readonly bad: string | null;
  /** Text of its /etc/fstab; empty where there is none. */
  readonly fstab: string;
  /** Whether folders that may be mount points are empty, by path without a leading slash; missing ones are left out. */
  readonly folders: ReadonlyMap<string, 'empty' | 'full'>;
  readonly machineId: string | null;
  /** The text of enabled mount units, by file name. */
  readonly units: ReadonlyMap<string, string>;
  /** Values of `rootflags=` on command lines of its boot configuration. */
  readonly rootFlags: readonly string[];
  /** False where the image keeps systemd from mounting partitions by their types. */
  readonly mountsByType: boolean;
}

interface Draft {
  readonly subvolume: string | null;
  readonly evidence: Set<Evidence>;
  bad: string | null;
  readonly fstab: string[];
  readonly folders: Map<string, 'empty' | 'full'>;
  machineId: string | null;
  readonly units: Map<string, string[]>;
  readonly rootFlags: string[];
  mountsByType: boolean;
}

const evidences: readonly string[] = ['etc', 'fstab', 'os-release', 'dpkg'] satisfies Evidence[];
/** An image has no more mount units than this. */
const maximumUnits = 256;

/** The systems in the output of look.sh, the one without a subvolume first. */
export function parseLook(output: string): System[] {
  const systems: Draft[] = [];
  let unit = '';
  for (const line of output.split('\n')) {
    const space = line.indexOf(' ');
    const [word, value] = space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
    if (word === 'system') systems.push(emptySystem(value === '' ? null : value));
    if (word === 'unit') unit = value;
    const system = systems.at(-1);
    if (system === undefined) continue;
    if (word === 'unit' || word === 'line') addToUnit(system, unit, word === 'line' ? value : '');
    else apply(system, word, value);
  }
  return systems.map(({ fstab, units, ...rest }) => ({
    ...rest,
    fstab: fstab.join(''),
    units: new Map([...units].map(([name, lines]) => [name, lines.join('\n')] as const)),
  }));
}

function addToUnit({ units }: Draft, name: string, line: string): void {
  const lines = units.get(name);
  if (lines !== undefined) lines.push(line);
  else if (units.size < maximumUnits) units.set(name, [line]);
}

function apply(system: Draft, word: string, value: string): void {
  switch (word) {
    case 'has':
      if (evidences.includes(value)) system.evidence.add(value as Evidence);
      return;
    case 'bad':
      system.bad ??= value;
      return;
    case 'fstab':
      system.fstab.push(`${value}\n`);
      return;
    case 'machine-id':
      system.machineId = /^[0-9a-f]{32}$/.test(value) ? value : null;
      return;
    case 'flags':
      system.rootFlags.push(value);
      return;
    case 'manual':
      system.mountsByType = false;
      return;
    case 'folder': {
      const end = value.endsWith(' full') ? ' full' : ' empty';
      system.folders.set(value.slice(0, -end.length), end === ' full' ? 'full' : 'empty');
    }
  }
}

function emptySystem(subvolume: string | null): Draft {
  return {
    ...{ subvolume, evidence: new Set<Evidence>(), bad: null, fstab: [], folders: new Map(), machineId: null },
    ...{ units: new Map(), rootFlags: [], mountsByType: true },
  };
}

/** Whether a mount option is one option, whatever reads it: an image must not add others, such as `dev`. */
export function isSafeOption(option: string): boolean {
  return /^[A-Za-z0-9@._+=/-]{1,255}$/.test(option);
}

/** The mount option for the subvolume of a system, or of an fstab; empty for the default one. */
export function subvolumeOption(subvolume: string | null): string {
  return subvolume === null ? '' : `subvol=/${subvolume}`;
}
