import { ImageBuilderError } from '../../errors.ts';
import { exec } from '../../exec.ts';
import { findTool } from '../../tools.ts';

/** A program of the worker for the vm, where busybox has none that will do, with the libraries that it is linked with. */
export interface LinkedProgram {
  /** Paths on this machine by the names that the files get in the folder /tools of the vm. */
  readonly paths: ReadonlyMap<string, string>;
}

const folder = '/tools';
const loaderName = 'loader';

/** Finds a program and its libraries, by ldd(1). Throws `guest.unavailable` where it is missing. */
export async function findLinkedProgram(name: string): Promise<LinkedProgram> {
  const path = await findTool(name);
  if (path === null) throw new ImageBuilderError('guest.unavailable', `the vm needs ${name}: apt-get install ${name}`);
  const { stdout } = await exec('ldd', [path]);
  const paths = new Map([[name, path]]);
  for (const line of stdout.split('\n')) {
    const words = line.trim().split(' ');
    const [first = '', arrow, target = ''] = words;
    // "libc.so.6 => /lib/…/libc.so.6 (0x…)", and the loader as "/lib64/ld-linux-x86-64.so.2 (0x…)".
    if (arrow === '=>' && target.startsWith('/')) paths.set(first, target);
    else if (first.startsWith('/')) paths.set(loaderName, first);
  }
  if (paths.has(loaderName)) return { paths };
  throw new ImageBuilderError('guest.unavailable', `the vm needs a ${name} that ldd can read`);
}

/** The words that start the program in the vm. Further words are its arguments. */
export function linkedCommand(name: string): readonly string[] {
  return [`${folder}/${loaderName}`, '--library-path', folder, `${folder}/${name}`];
}
