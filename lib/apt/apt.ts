import type { InstallOptions } from './install.ts';
import type { PackageList } from './packages.ts';
import type { PlannedInstallation, PlanOptions } from './planned.ts';
import type { RepositoryFiles } from './repositories/repository.ts';
import type { ResolvedPlan } from './resolve.ts';
import type { UpdateOptions } from './update.ts';

/** Apt for one opened image. It runs inside the image, or outside on the worker, with the same errors and progress. */
export interface Apt extends AsyncDisposable {
  /** Brings the package lists up to date, and throws as the function `updateLists` does. */
  updateLists(options: UpdateOptions): Promise<void>;
  /**
   * Reads the files that say which repositories apt has, and whose signatures it trusts. Call it after `updateLists`, and
   * before scripts of packages can change these files. Throws as `readRecords` does.
   */
  readRepositories(): Promise<RepositoryFiles>;
  /** Says what an installation would change, and throws as the function `planInstallation` does. */
  planInstallation(specifications: readonly string[], options: PlanOptions): Promise<PlannedInstallation>;
  /** Installs packages, once for an image, and throws as the function `installPackages` does. */
  installPackages(specifications: readonly string[], options: InstallOptions): Promise<Installation>;
}

/** An installation, with the packages that the image has afterwards. */
export interface Installation extends PackageList {
  readonly plan: ResolvedPlan;
}
