import { closePort, openedPorts, openPort } from './hook-tools.ts';

/** Opens this TCP port of the unit, where it is not null, and closes all others. */
export function showPort(port: number | null): void {
  const wanted = port === null ? null : `${port}/tcp`;
  const before = openedPorts();
  for (const one of before) if (one !== wanted) closePort(one);
  if (wanted !== null && !before.includes(wanted)) openPort(wanted);
}
