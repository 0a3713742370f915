import { workerArchitecture } from '../architecture.ts';
import { ExecError, exec } from '../exec.ts';
import { emulators } from '../guest/vm/machine.ts';
import { findTool, type Tool, tools } from '../tools.ts';
import type { Finding } from './finding.ts';

/** The programs that a worker calls. */

export interface ToolState extends Tool {
  /** Path of the program; null where it is missing. */
  readonly path: string | null;
  /** Version by its own output; null where it prints none. */
  readonly version: string | null;
}

const busybox: Tool = { name: 'busybox', package: 'busybox-static', users: ['vm'] };

/** All programs that builds on a machine of this architecture call. */
export function toolsFor(architecture: string): readonly Tool[] {
  const emulator = emulators[architecture];
  const ofVm: Tool[] = emulator === undefined ? [] : [{ ...emulator, users: ['vm'] }];
  const others = Object.values(emulators).filter(({ name }) => name !== emulator?.name);
  return [...tools, ...ofVm, ...others.map((other): Tool => ({ ...other, users: ['touch'] })), busybox];
}

/** Looks for each program, in `searchPath` or where builds do, and asks it for its version. */
export async function lookAtTools(signal: AbortSignal, searchPath?: string): Promise<ToolState[]> {
  return await Promise.all(
    toolsFor(workerArchitecture).map(async (tool) => {
      const path = await findTool(tool.name, searchPath);
      return { ...tool, path, version: path === null ? null : await versionOf(path, tool, signal) };
    }),
  );
}

/** Looks for each program, where builds find it, without starting any. */
export async function locateTools(wanted: readonly Tool[]): Promise<ToolState[]> {
  return await Promise.all(wanted.map(async (one) => ({ ...one, path: await findTool(one.name), version: null })));
}

/** Busybox prints it when it is called without a command, all others with an option. */
async function versionOf(path: string, { name }: Tool, signal: AbortSignal): Promise<string | null> {
  try {
    const { stdout } = await exec(path, name === busybox.name ? [] : ['--version'], { signal });
    return parseVersion(stdout);
  } catch (error) {
    if (error instanceof ExecError) return null;
    throw error;
  }
}

/** The first thing in an output that looks like a version. */
export function parseVersion(output: string): string | null {
  const words = output.slice(0, 1024).split(/[\s,;()]+/);
  const word = words.find((candidate) => /\d\.\d/.test(candidate));
  return word === undefined ? null : word.replace(/^[^0-9]+/, '');
}

/**
 * One finding for the programs that are there, and one for each missing one. `guests` are the ones that matter here.
 */
export function toolFindings(states: readonly ToolState[], guests: ReadonlySet<'host' | 'vm'>): Finding[] {
  const present = states.filter(({ path }) => path !== null);
  const said = present.map(({ name, version }) => (version === null ? name : `${name} ${version}`));
  const missing = states.filter(({ path }) => path === null);
  return [
    { what: 'tools', ok: true, detail: said.length === 0 ? 'none of those that builds call' : said.join(', ') },
    ...missing.map(({ name, package: packageName, users }): Finding => {
      const always = users.includes('build');
      const ofGuests = users.filter((user) => user === 'host' || user === 'vm');
      const matters = always || ofGuests.some((user) => guests.has(user));
      const ofKind = users.includes('cd') ? 'builds of CD images need it' : 'images of another architecture need it';
      const ofGuest = ofGuests.length === 0 ? ofKind : `the ${ofGuests.join(' and ')} guest needs it`;
      const who = always ? 'every build needs it' : ofGuest;
      const detail = `is not installed (package ${packageName}); ${who}`;
      return { what: `tool ${name}`, ok: !always, detail, ...(matters ? { packages: [packageName] } : {}) };
    }),
  ];
}
