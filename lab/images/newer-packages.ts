import { appendFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '#lib/exec.ts';
import type { PackageRecipe } from '../servers/launchpad.ts';

/**
 * The distribution's own packages as if it had published newer versions of them, for builds that upgrade them. Unpacks
 * them in `directory`. A module of GRUB in each differs from that of the older version.
 */
export async function newerPackages(names: readonly string[], directory: string): Promise<PackageRecipe[]> {
  await mkdir(directory);
  await exec('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', 'download', ...names], { cwd: directory });
  const files = await readdir(directory);
  return await Promise.all(
    names.map(async (name) => {
      const file = files.find((other) => other.startsWith(`${name}_`)) ?? '';
      const tree = join(directory, name);
      await exec('dpkg-deb', ['-R', join(directory, file), tree]);
      const control = join(tree, 'DEBIAN', 'control');
      const text = await readFile(control, 'utf8');
      const old = /^Version: (.*)$/m.exec(text)?.[1] ?? '';
      const version = `${old}+newer1`;
      await writeFile(control, text.replaceAll(old, version));
      const modules = join(tree, 'usr/lib/grub');
      for (const platform of await readdir(modules).catch(() => [])) {
        const module = join(modules, platform, 'cat.mod');
        if (platform.match(/-pc$|-efi$/) !== null) await appendFile(module, '\n');
      }
      const architecture = /^Architecture: (.*)$/m.exec(text)?.[1] ?? '';
      return { name, version, architecture, tree };
    }),
  );
}
