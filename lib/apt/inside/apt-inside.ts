import type { ScriptRunner } from '../../guest/guest.ts';
import type { Apt } from '../apt.ts';
import type { ImageFacts } from '../facts.ts';
import { installPackages } from '../install.ts';
import { readPackages } from '../packages.ts';
import { planInstallation } from '../planned.ts';
import { readRepositoriesInside } from '../repositories/read-inside.ts';
import { updateLists } from '../update.ts';

/** The image's own apt, for an image whose scripts have a network. */
export function aptInside(runner: ScriptRunner, facts: Pick<ImageFacts, 'aptVersion'>): Apt {
  return {
    updateLists: (options) => updateLists(runner, options),
    readRepositories: () => readRepositoriesInside(runner, facts),
    planInstallation: (specifications, options) => planInstallation(runner, specifications, options),
    installPackages: async (specifications, options) => ({
      plan: await installPackages(runner, specifications, options),
      ...(await readPackages(runner)),
    }),
    async [Symbol.asyncDispose]() {},
  };
}
