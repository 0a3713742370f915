/**
 * Menus of boot loaders that name each kernel in plain lines: entries of the Boot Loader Specification (systemd-boot,
 * and GRUB with `blscfg`), and the configuration of extlinux and U-Boot.
 */
export interface LoaderEntry {
  /** Path on the partition of the menu; null where it names none. */
  readonly kernel: string | null;
  readonly initrds: readonly string[];
  /** The kernel's command line. */
  readonly arguments: readonly string[];
}

/** A file of `loader/entries`: uapi-group.org/specifications/specs/boot_loader_specification. */
export function parseLoaderEntry(text: string): LoaderEntry {
  let kernel: string | null = null;
  const initrds: string[] = [];
  const words: string[] = [];
  for (const line of text.split('\n')) {
    const [key = '', ...rest] = line
      .trim()
      .split(/[ \t]/)
      .filter((word) => word !== '');
    if (key === 'linux') kernel = rest[0] ?? null;
    if (key === 'initrd') for (const path of rest) initrds.push(path);
    if (key === 'options') for (const word of rest) words.push(word);
  }
  return { kernel, initrds, arguments: words };
}

/** extlinux.conf and syslinux.cfg. Paths that do not begin with a slash lie in `folder`, the file's own. */
export function parseExtlinux(text: string, folder: string): LoaderEntry[] {
  const entries: { kernel: string | null; initrds: string[]; arguments: string[] }[] = [];
  const full = (path: string) => (path.startsWith('/') ? path : `${folder}/${path}`);
  for (const line of text.split('\n')) {
    const [key = '', ...rest] = line
      .trim()
      .split(/[ \t]/)
      .filter((word) => word !== '');
    const entry = entries.at(-1);
    switch (key.toLowerCase()) {
      case 'label':
        entries.push({ kernel: null, initrds: [], arguments: [] });
        break;
      case 'linux':
      case 'kernel':
        if (entry !== undefined && rest[0] !== undefined && !/\.c32$/i.test(rest[0])) entry.kernel = full(rest[0]);
        break;
      case 'initrd':
        for (const path of rest.flatMap((word) => word.split(','))) entry?.initrds.push(full(path));
        break;
      case 'append':
        for (const word of rest) {
          entry?.arguments.push(word);
          if (!word.startsWith('initrd=')) continue;
          for (const path of word.slice(7).split(',')) entry?.initrds.push(full(path));
        }
        break;
    }
  }
  return entries;
}
