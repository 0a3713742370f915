import { type ArgumentDescription, allCommands, type CommandDescription, type OptionDescription } from './describe.ts';

/**
 * The manual page, in the language of man(7), from the same descriptions as the help. `version` and `revised`, the day
 * of its last change as year-month-day, stand in its head and foot.
 */
export function manualPage(
  program: string,
  root: CommandDescription,
  { version, revised }: { readonly version: string; readonly revised: string },
): string {
  const { examples, exitCodes, others } = partsOf(root.notes);
  const lines = [
    `.\\" Written by \`npm run docs\` from the help of ${program}: change that instead.`,
    `.TH ${program.toUpperCase()} 1 ${revised} "Image Builder ${version}" "Image Builder"`,
    '.SH NAME',
    `${escaped(program)} \\- ${escaped(lowerFirst(root.description).replace(/\.$/, ''))}`,
    '.SH SYNOPSIS',
    `.B ${escaped(program)}`,
    escaped(root.usage),
    '.SH DESCRIPTION',
    ...paragraphs(root.description),
    ...root.options.flatMap(optionLines),
    '.SH COMMANDS',
    ...allCommands(root)
      .filter(({ path }) => path.length > 0 && path.at(-1) !== 'help')
      .flatMap((command) => commandLines(program, command)),
    '.SH ENVIRONMENT',
    'Settings, such as',
    '.BR IMAGEBUILDER_GUEST ,',
    'are in README.md. These stand for options:',
    ...environmentLines(root),
    '.SH EXAMPLES',
    ...paragraphs(examples),
    '.SH EXIT STATUS',
    ...paragraphs(exitCodes),
    ...(others === '' ? [] : ['.SH NOTES', ...paragraphs(others)]),
  ];
  return `${lines.join('\n')}\n`;
}

function commandLines(program: string, command: CommandDescription): string[] {
  const { path, usage, description, options, notes } = command;
  return [
    `.SS ${escaped([program, ...path].join(' '))} ${escaped(usage)}`,
    ...paragraphs(description),
    ...command.arguments.flatMap(argumentLines),
    ...options.flatMap(optionLines),
    ...(notes === '' ? [] : ['.PP', ...paragraphs(notes)]),
  ];
}

function argumentLines({ name, description, choices }: ArgumentDescription): string[] {
  const values = choices.length === 0 ? '' : ` (${choices.join(', ')})`;
  return ['.TP', `\\fI${escaped(name)}\\fR`, guarded(escaped(`${description}${values}.`))];
}

function optionLines({ names, placeholder, description, fallback, environment }: OptionDescription): string[] {
  const value = placeholder === '' ? '' : ` \\fI${escaped(placeholder)}\\fR`;
  const facts = [
    ...(fallback === null ? [] : [`Default: ${fallback}.`]),
    ...(environment === null ? [] : [`Environment: ${environment}.`]),
  ];
  return [
    '.TP',
    `${names.map((name) => `\\fB${escaped(name)}\\fR`).join(', ')}${value}`,
    guarded(escaped([`${description}.`, ...facts].join(' '))),
  ];
}

function environmentLines(root: CommandDescription): string[] {
  const options = allCommands(root).flatMap((command) => command.options);
  const byVariable = new Map(
    options.flatMap(({ environment, names }) => (environment === null ? [] : [[environment, names[0] ?? '']])),
  );
  return [...byVariable].flatMap(([variable, name]) => ['.TP', `.B ${escaped(variable)}`, `\\fB${escaped(name)}\\fR`]);
}

/** Paragraphs of the program's note, by the sections that they belong to. */
function partsOf(notes: string): { examples: string; exitCodes: string; others: string } {
  const parts = notes.split('\n\n');
  const examples = parts.filter((part) => part.startsWith('Examples:\n'));
  const exitCodes = parts.filter((part) => part.startsWith('Exit codes: '));
  return {
    examples: examples.map((part) => part.slice('Examples:\n'.length)).join('\n\n'),
    exitCodes: exitCodes.map((part) => part.slice('Exit codes: '.length)).join('\n\n'),
    others: parts.filter((part) => !examples.includes(part) && !exitCodes.includes(part)).join('\n\n'),
  };
}

/** Text as paragraphs; lines that begin with a space stay as they are. */
function paragraphs(text: string): string[] {
  const lines: string[] = [];
  let indented = false;
  for (const line of text.split('\n')) {
    if (line.startsWith(' ') !== indented) {
      indented = !indented;
      lines.push(...(indented ? ['.RS', '.nf'] : ['.fi', '.RE']));
    }
    if (line !== '') lines.push(guarded(escaped(line.trim())));
    else if (!indented) lines.push('.PP');
  }
  if (indented) lines.push('.fi', '.RE');
  return lines;
}

/** A line that begins with a dot or a quote is no request. */
function guarded(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replace(
      /[^\n -~]/gu,
      (character) => `\\[u${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    );
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1);
}
