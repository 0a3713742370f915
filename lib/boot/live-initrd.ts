import type { FileHandle } from 'node:fs/promises';
import type { Range } from '../image/unwrap/decompress.ts';
import { type InitrdOptions, type InitrdState, moduleOf, visitInitrd } from './initrd.ts';

/** The initial ramdisk of a live system: it finds the medium, and lays its layers one above the other. */
export interface LiveInitrd extends InitrdState {
  /** The program that does so; null in one that boots an installed system. */
  readonly program: LiveProgram | null;
  /** The id that the medium must have, too (`conf/uuid.conf`); null where any medium will do. */
  readonly uuid: string | null;
  /** True where it starts the live system without being asked to by `boot=` on the kernel's command line. */
  readonly isDefault: boolean;
  /** The uppermost layer, as casper takes it from `LAYERFS_PATH`; null where it does not say. */
  readonly topLayer: string | null;
  /** Versions of the kernels that it has modules for. */
  readonly kernels: ReadonlySet<string>;
  /** Names of its kernel modules, as `Initrd` has them. */
  readonly modules: ReadonlySet<string>;
}

/** dracut starts a live system by its module `dmsquash-live`, in the package dracut-live. */
export type LiveProgram = 'casper' | 'live-boot' | 'dracut-live';

/** The values of `boot=` for which the `init` of initramfs-tools runs their scripts. */
const bootNames: ReadonlyMap<LiveProgram | null, string> = new Map([
  ['casper', 'casper'],
  ['live-boot', 'live'],
]);
/** By those scripts. */
const programs: ReadonlyMap<string, LiveProgram> = new Map([
  ['scripts/casper', 'casper'],
  ['scripts/live', 'live-boot'],
  ...['sbin', 'usr/sbin', 'bin', 'usr/bin'].map((folder) => [`${folder}/dmsquash-live-root`, 'dracut-live'] as const),
]);
const uuidFile = 'conf/uuid.conf';
const settingsFolder = 'conf/conf.d/';
const maximumSettingsBytes = 64 * 1024;
const maximumSettings = 100;
const maximumModules = 20_000;
const maximumKernels = 20;

/** Reads the initial ramdisk that lies in part of a file. Throws as `readInitrd` does. */
export async function readLiveInitrd(file: FileHandle, range: Range, options: InitrdOptions): Promise<LiveInitrd> {
  const modules = new Set<string>();
  const kernels = new Set<string>();
  const texts = new Map<string, string>();
  let program: LiveProgram | null = null;
  const onName = (written: string) => {
    const name = plainName(written);
    program = programs.get(name) ?? program;
    const module = moduleOf(name);
    if (module !== null && modules.size < maximumModules) modules.add(module);
    const kernel = /^(?:usr\/)?lib\/modules\/([^/]+)\//.exec(name)?.[1];
    if (kernel !== undefined && kernels.size < maximumKernels) kernels.add(kernel);
  };
  const state = await visitInitrd(
    file,
    range,
    {
      onName,
      files: {
        maximumBytes: maximumSettingsBytes,
        isWanted: (name) => plainName(name) === uuidFile || plainName(name).startsWith(settingsFolder),
        onFile(name, content) {
          if (texts.size < maximumSettings) texts.set(plainName(name), content.toString('utf8'));
        },
      },
    },
    options,
  );
  const settings = [...texts].filter(([name]) => name !== uuidFile).sort(([one], [other]) => (one < other ? -1 : 1));
  const lastOf = (variable: string) =>
    settings.map(([, text]) => valueIn(text, variable)).findLast((value) => value !== null) || null;
  return {
    ...{ program, uuid: texts.get(uuidFile)?.trim() || null, topLayer: lastOf('LAYERFS_PATH') },
    ...{ isDefault: program !== null && lastOf('BOOT') === bootNames.get(program), kernels, modules, ...state },
  };
}

/** Names are those of `find .` in some archives. */
function plainName(name: string): string {
  return name.startsWith('./') ? name.slice(2) : name;
}

/** The value that a shell would give to a variable by these lines, whatever their conditions; null where they give none. */
function valueIn(text: string, variable: string): string | null {
  let value: string | null = null;
  for (const line of text.split('\n')) {
    const words = line.trim().replace(/^export /, '');
    if (!words.startsWith(`${variable}=`)) continue;
    value = unquoted(words.slice(variable.length + 1));
  }
  return value;
}

function unquoted(word: string): string {
  const [first = ''] = word;
  return word.length > 1 && (first === '"' || first === "'") && word.endsWith(first) ? word.slice(1, -1) : word;
}
