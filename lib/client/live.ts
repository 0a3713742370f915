import { createLogUpdate } from 'log-update';

/** A text on a terminal that is drawn again in its place. */

/** The part of a screen that a text may take. The line below the text stays free for the cursor. */
export interface Screen {
  readonly columns: number;
  readonly rows: number;
  readonly color: boolean;
  /** False: only ASCII. */
  readonly unicode: boolean;
}

export interface Live extends Disposable {
  /** Draws what `render` makes for the screen as it is, and again whenever its size changes. */
  draw(render: (screen: Screen) => string): void;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * True for a terminal of a known size that moves its cursor. False with `TERM=dumb`, without TERM, and with NO_COLOR
 * (https://no-color.org), which asks for plain output.
 */
export function isDrawable(stream: NodeJS.WriteStream, environment: Environment): boolean {
  const { TERM = '', NO_COLOR = '' } = environment;
  // Some pseudo-terminals have no size.
  return stream.isTTY && stream.columns > 0 && stream.rows > 0 && !['', 'dumb'].includes(TERM) && NO_COLOR === '';
}

/** True where the environment's locale writes UTF-8. */
export function writesUnicode({ LC_ALL, LC_CTYPE, LANG }: Environment): boolean {
  return /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || '');
}

/** Starts drawing on a terminal (`isDrawable`). Disposing leaves the last text there. */
export function openLive(stream: NodeJS.WriteStream, environment: Environment): Live {
  const color = stream.hasColors();
  const unicode = writesUnicode(environment);
  const update = createLogUpdate(stream, { showCursor: true });
  let current: ((screen: Screen) => string) | undefined;
  let drawn = '';
  const redraw = () => {
    const { columns, rows } = stream;
    if (current === undefined || columns < 1 || rows < 1) return;
    const size = `${columns} ${rows}`;
    // Terminals differ in whether they wrap again what they show: only an empty screen is known.
    if (drawn !== '' && drawn !== size) {
      update.done();
      stream.write('\u001b[H\u001b[2J');
    }
    drawn = size;
    update(current({ columns, rows, color, unicode }));
  };
  // After Ctrl-Z, the shell has written below the text: a new one begins there.
  const onContinue = () => {
    update.done();
    redraw();
  };
  stream.on('resize', redraw);
  process.on('SIGCONT', onContinue);
  return {
    draw(render) {
      current = render;
      redraw();
    },
    [Symbol.dispose]() {
      stream.off('resize', redraw);
      process.off('SIGCONT', onContinue);
      // Over the `^C` of the terminal.
      stream.write('\r\u001b[K');
      update.done();
    },
  };
}
