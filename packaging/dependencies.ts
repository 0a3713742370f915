import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { emulators } from '#lib/guest/vm/machine.ts';

const Groups = z.object({ run: z.array(z.string()), vm: z.array(z.string()) });

/** Libraries of Node's program, of the versions whose symbols it has; and systemd, which makes the user. */
const ofProgram = ['libc6 (>= 2.28)', 'libgcc-s1', 'libstdc++6 (>= 6)', 'systemd'];

/** Parts of every Debian and Ubuntu, which packages do not depend on (Debian policy, 3.5). */
const essential = ['perl-base', 'util-linux'];

/** OVMF is the firmware of machines of amd64, by which a boot check boots them; those of others are not booted. */
const ofAmd64Only = ['ovmf'];

export interface Dependencies {
  readonly depends: readonly string[];
  /** Of the vm guest, which a worker with the host guest does not need. apt installs them unless it is told not to. */
  readonly recommends: readonly string[];
}

/** The Debian packages that the service needs on an architecture, by scripts/debian-packages.json, which is amd64's. */
export async function dependenciesOn(root: string, architecture: string): Promise<Dependencies> {
  const text = await readFile(join(root, 'scripts/debian-packages.json'), 'utf8');
  const { run, vm } = Groups.parse(JSON.parse(text));
  return {
    depends: [...ofProgram, ...run.filter((name) => !essential.includes(name))].toSorted(),
    recommends: vm
      .filter((name) => architecture === 'amd64' || !ofAmd64Only.includes(name))
      .map((name) => translate(name, architecture)),
  };
}

function translate(name: string, architecture: string): string {
  const emulator = emulators[architecture]?.package;
  if (emulator === undefined) throw new Error(`there is no vm for ${architecture}`);
  if (name === emulators.amd64?.package) return emulator;
  return name.replaceAll('-amd64', `-${architecture}`);
}
