/**
 * The words for a command of the image's own apt configuration that has failed around dpkg; null where none has. The
 * files that set such hooks are in lines of scripts/hooks.sh: `hook in FILE:LINE`.
 */
export function hookFailure(lines: readonly string[]): string | null {
  const failed = lines
    .map((line) => /^E: (?:Problem executing scripts (\S+) '(.*)'|Failure running script (.*))$/.exec(line))
    .find((match) => match !== null);
  if (failed === undefined) return null;
  // apt has other words for the hooks that get the list of packages.
  const [, list = 'DPkg::Pre-Install-Pkgs', around, before = ''] = failed;
  const command = around ?? before;
  const kind = list.slice(list.lastIndexOf(':') + 1).toLowerCase();
  const set = lines.flatMap((line) => {
    const [, file = '', text = ''] = /^hook in ([^:]+):(.*)$/.exec(line) ?? [];
    return file === '' ? [] : [{ file, text }];
  });
  const exact = set.filter(({ text }) => text.includes(command));
  const likely = exact.length > 0 ? exact : set.filter(({ text }) => text.toLowerCase().includes(kind));
  const files = [...new Set(likely.map(({ file }) => file))];
  const place = files.length === 0 ? 'the configuration of its apt' : files.slice(0, 5).join(' or ');
  return `a hook of the base image has failed: '${command}', which ${place} sets as ${list}; take it out there, or make it work without a running system`;
}
