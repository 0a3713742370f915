import type { ScriptRunner } from '../guest/guest.ts';
import { type InstallOptions, installPackages } from './install.ts';
import { type InstalledPackage, readPackages } from './packages.ts';
import type { InstallPlan } from './resolve.ts';
import { type UpdateOptions, updateLists } from './update.ts';

/** Apt for one opened image. It runs inside the image, or outside on the worker, with the same errors and progress. */
export interface Apt extends AsyncDisposable {
  /** Brings the package lists up to date, and throws as the function `updateLists` does. */
  updateLists(options: UpdateOptions): Promise<void>;
  /** Installs packages, once for an image, and throws as the function `installPackages` does. */
  installPackages(specifications: readonly string[], options: InstallOptions): Promise<Installation>;
}

export interface Installation {
  readonly plan: InstallPlan;
  /** All that the image has afterwards. */
  readonly packages: readonly InstalledPackage[];
}

/** The image's own apt, for a session that has a network. */
export function aptInside(session: ScriptRunner): Apt {
  return {
    updateLists: (options) => updateLists(session, options),
    installPackages: async (specifications, options) => ({
      plan: await installPackages(session, specifications, options),
      packages: await readPackages(session),
    }),
    async [Symbol.asyncDispose]() {},
  };
}
