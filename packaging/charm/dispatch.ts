import type { Tree } from '../tree.ts';

/**
 * The fault in `dispatch`, the program that Juju starts for hooks and actions; null where there is none. charmcraft's linter
 * takes the last word of its last line for the charm's entry point, an executable file, and expands no variables.
 */
export function dispatchFault(text: string, files: Tree): string | null {
  if (!text.startsWith('#!/')) return 'dispatch must begin with #!/, and the path of a shell';
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  const entryPoint = lines.at(-1)?.trim().split(/\s+/).at(-1) ?? '';
  const entry = files.get(entryPoint);
  if (entry === undefined) return `dispatch must end with the path of a file in the charm, and ${entryPoint} is none`;
  return isExecutable(entry) ? null : `${entryPoint}, with which dispatch ends, must be executable`;
}

const isExecutable = (entry: object): boolean =>
  'mode' in entry && typeof entry.mode === 'number' && (entry.mode & 0o111) !== 0;
