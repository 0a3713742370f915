import { ImageBuilderError } from '../errors.ts';
import type { ScriptRunner } from '../guest/guest.ts';
import type { ImageFacts } from './facts.ts';
import { type InstallPlan, withoutArchitecture } from './plan.ts';
import { runScript } from './script.ts';

/** Throws `apt.package` for packages that are to be held, and that the image will not have. */
export function assertHoldable(
  names: readonly string[],
  { packages }: Pick<ImageFacts, 'packages'>,
  { install, remove }: Pick<InstallPlan, 'install' | 'remove'>,
): void {
  const gone = new Set(remove.map(withoutArchitecture));
  const kept = packages.map(({ name }) => name).filter((name) => !gone.has(name));
  const there = new Set([...kept, ...install.map(withoutArchitecture)]);
  const faults = names.flatMap((name, index) =>
    there.has(withoutArchitecture(name))
      ? []
      : [
          {
            path: `$.hold_packages[${index}]`,
            message: `${name}: it is not installed, so it cannot be held; list it in "package_list" too`,
          },
        ],
  );
  if (faults.length === 0) return;
  throw new ImageBuilderError(
    'apt.package',
    `packages cannot be held: ${faults.map(({ message }) => message).join('; ')}`,
    {
      faults,
    },
  );
}

/** Holds packages of an image: its apt changes them no more, until the hold is taken off. */
export async function holdPackages(runner: ScriptRunner, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const holds = [...new Set(names)].map((name) => `${name} hold\n`).join('');
  await runScript(runner, 'hold', { files: { holds }, timeoutMs: 120_000 });
}
