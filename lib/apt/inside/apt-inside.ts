import type { ScriptRunner } from '../../guest/guest.ts';
import type { Apt } from '../apt.ts';
import { collectPackages } from '../collect-packages.ts';
import type { ImageFacts } from '../facts.ts';
import { installPackages } from '../install.ts';
import { planInstallation } from '../planned.ts';
import { readRepositoriesInside } from '../repositories/read-inside.ts';
import { updateLists } from '../update.ts';
import { type KnownArchitectures, withKnown } from './known.ts';

/** The image's own apt, for an image whose scripts have a network. */
export function aptInside(inside: ScriptRunner, facts: KnownArchitectures & Pick<ImageFacts, 'aptVersion'>): Apt {
  const runner = withKnown(inside, facts);
  return {
    updateLists: (options) => updateLists(runner, options),
    readRepositories: () => readRepositoriesInside(runner, facts),
    planInstallation: (specifications, options) => planInstallation(runner, specifications, options),
    async installPackages(specifications, options) {
      const collector = collectPackages();
      const plan = await installPackages(runner, specifications, { ...options, collector });
      return { plan, ...(await collector.list(runner)) };
    },
    async [Symbol.asyncDispose]() {},
  };
}
