import { someOf } from '../text.ts';

/** A record of apt_preferences(5). */
export interface Pin {
  /** The file that has it, by its path in the image. */
  readonly file: string;
  /** Names of packages, and patterns of them. */
  readonly packages: readonly string[];
  /** Null where the record has none, or one that is no number. */
  readonly priority: number | null;
}

/** Parses `FILE:Package: …` and `FILE:Pin-Priority: …`, which follow each other. */
export function parsePins(lines: readonly string[]): Pin[] {
  const pins: Pin[] = [];
  for (const line of lines) {
    const [, file = '', field = '', value = ''] = /^([^:]*):(package|pin-priority):(.*)$/i.exec(line) ?? [];
    const last = pins.at(-1);
    if (field.toLowerCase() === 'package') {
      pins.push({ file, packages: value.trim().split(/[ \t,]+/), priority: null });
    } else if (field !== '' && last?.file === file && last.priority === null) {
      const number = Number.parseInt(value, 10);
      pins.splice(-1, 1, { ...last, priority: Number.isNaN(number) ? null : number });
    }
  }
  return pins;
}

/** In words, the files whose pins may keep apt from a package: those that name it, else those with a pattern. */
export function filesAgainst(name: string, pins: readonly Pin[]): string | null {
  const against = pins.filter(({ priority }) => priority !== null && priority < 0);
  const exact = against.filter(({ packages }) => packages.includes(name));
  const patterns = against.filter(({ packages }) => packages.some((word) => /[*?[/]|^src:/.test(word)));
  return filesOf(exact.length > 0 ? exact : patterns);
}

/** In words, the files with pins that have no priority, or 0. */
export function filesWithoutPriority(pins: readonly Pin[]): string | null {
  return filesOf(pins.filter(({ priority }) => (priority ?? 0) === 0));
}

function filesOf(pins: readonly Pin[]): string | null {
  const files = [...new Set(pins.map(({ file }) => file))];
  return files.length === 0 ? null : someOf(files);
}
