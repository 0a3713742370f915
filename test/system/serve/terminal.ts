import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { eventually } from './command.ts';

/** A terminal of tmux, which interprets what a program writes to it. */
export interface Terminal extends AsyncDisposable {
  /** The lines that it shows, without blanks at their ends and without empty lines at the end. */
  screen(): Promise<string[]>;
  /** Waits until the screen is as `isSo` says, and resolves with its lines. */
  shows(what: string, isSo: (lines: readonly string[]) => boolean): Promise<string[]>;
  resize(columns: number, rows: number): Promise<void>;
  /** Types keys as tmux names them, such as `C-c`. */
  type(...keys: readonly string[]): Promise<void>;
  /** All that the program has written, escape sequences included. */
  written(): Promise<string>;
}

const command = join(import.meta.dirname, '../../../bin/imagebuilder');

/** Runs `imagebuilder` in a terminal of this size; `exit CODE` is shown at its end. */
export async function openTerminal(
  args: readonly string[],
  options: { readonly columns: number; readonly rows: number; readonly env?: Readonly<Record<string, string>> },
): Promise<Terminal> {
  const directory = await mkdtemp(join(tmpdir(), 'imagebuilder-test-terminal-'));
  const output = join(directory, 'output');
  // A terminal type that every machine knows; NO_COLOR of the machine is not the test's.
  const { NO_COLOR: _color, ...inherited } = process.env;
  const environment = { ...inherited, LC_ALL: 'C.UTF-8', TERM: 'screen-256color', ...options.env };
  const tmux = async (...words: readonly string[]) => {
    const result = await execa('tmux', ['-u', '-S', join(directory, 'socket'), '-f', '/dev/null', ...words], {
      env: environment,
      extendEnv: false,
    });
    return result.stdout;
  };
  const size = ['-x', String(options.columns), '-y', String(options.rows)];
  // The program begins when its output is recorded, in a window without tmux's own line.
  const script = `trap : INT; until [ -e ${output} ]; do sleep 0.05; done; TERM=${environment.TERM}; "$0" "$@"; echo "exit $?"; exec sleep 600`;
  await tmux('new-session', '-d', ...size, 'sh', '-c', script, command, ...args, ';', 'set', '-g', 'status', 'off');
  await tmux('resize-window', ...size);
  await tmux('pipe-pane', `cat > ${output}`);
  const screen = async () => {
    const lines = (await tmux('capture-pane', '-p')).split('\n').map((line) => line.trimEnd());
    while (lines.at(-1) === '') lines.pop();
    return lines;
  };
  return {
    screen,
    async shows(what, isSo) {
      let lines: string[] = [];
      const probe = async () => {
        lines = await screen();
        return isSo(lines);
      };
      await eventually(what, probe, () => `\n${lines.join('\n')}`);
      return lines;
    },
    resize: async (columns, rows) => void (await tmux('resize-window', '-x', String(columns), '-y', String(rows))),
    type: async (...keys) => void (await tmux('send-keys', ...keys)),
    written: async () => await readFile(output, 'utf8'),
    async [Symbol.asyncDispose]() {
      await tmux('kill-server').catch(() => {});
      await rm(directory, { recursive: true });
    },
  };
}
