/** The file of settings, in systemd's format for `EnvironmentFile=`, which is a shell's as well. Empty values are left out. */
export function environmentText(variables: Readonly<Record<string, string>>, data: string): string {
  const lines = Object.entries(variables)
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name}=${quote(value)}\n`);
  return `# Written by the charm at each hook; change its options (juju config) instead.\n# Data lies on ${data}.\n${lines.join('')}`;
}

/** In double quotes, where a backslash keeps these characters from meaning anything (systemd.exec(5), sh(1)). */
const quote = (value: string): string => `"${value.replaceAll(/[\\"`$]/g, '\\$&')}"`;

/** The variables of a text that `environmentText` has written. */
export function readEnvironment(text: string): Record<string, string> {
  const assignments = text.matchAll(/^([A-Z_]+)="((?:[^"\\]|\\.)*)"$/gms);
  return Object.fromEntries(
    [...assignments].map(([, name = '', value = '']) => [name, value.replaceAll(/\\(.)/gs, '$1')]),
  );
}
