import { readdirSync, readFileSync } from 'node:fs';
import { exists, readText, writeText } from './files.ts';
import { onMachine, packagesPath } from './places.ts';
import { CommandError, run } from './run.ts';

/** Debian packages with the tools that builds call. */

interface PackageLists {
  /** Relations between packages, as in the field Depends of a package, by Debian architecture. */
  readonly tools: Readonly<Record<string, string>>;
  /** A kernel for the vm, where the machine has none, as in a container. */
  readonly kernel: Readonly<Record<string, string>>;
}

const aptOptions = ['-o', 'DPkg::Lock::Timeout=300', '--yes', '--no-install-recommends'];

/** Whether apt has installed all of them before. A kernel that it has installed is there afterwards, and not wanted any more. */
export function arePackagesInstalled(): boolean {
  const { tools, kernel } = packageLists();
  const installed = readText(packagesPath);
  return installed === `${tools}, ${kernel}` || (installed === tools && hasKernel());
}

/** Installs what is missing. Gives back the reason where that fails, else null. */
export function installPackages(): string | null {
  const { tools, kernel } = packageLists();
  const wanted = hasKernel() ? tools : `${tools}, ${kernel}`;
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } as Record<string, string>;
  try {
    run('apt-get', [...aptOptions, 'update'], { environment });
    run('apt-get', [...aptOptions, 'satisfy', wanted], { environment });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return error.message;
  }
  writeText(packagesPath, wanted, 0o644);
  return null;
}

/** The lists for this machine's architecture. */
function packageLists(): { readonly tools: string; readonly kernel: string } {
  const lists = JSON.parse(readFileSync(new URL('packages.json', import.meta.url), 'utf8')) as PackageLists;
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
  const [tools, kernel] = [lists.tools[architecture], lists.kernel[architecture]];
  if (tools === undefined || kernel === undefined) throw new Error(`the charm has no packages for ${architecture}`);
  return { tools, kernel };
}

function hasKernel(): boolean {
  const folder = onMachine('/boot');
  return exists('/boot') && readdirSync(folder).some((name) => name.startsWith('vmlinuz-'));
}
