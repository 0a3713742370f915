import type { Argument, Command, Option } from 'commander';
import { stepsToStopAt } from '#lib/api/event.ts';

/** The command line as data, from the same definitions as its help: for shell completion and the man page. */

export type ValueKind = 'none' | 'text' | 'file' | 'folder' | readonly string[];

export interface OptionDescription {
  /** As it is typed, such as `--url`, and `-h` beside `--help`. */
  readonly names: readonly string[];
  readonly placeholder: string;
  readonly value: ValueKind;
  readonly description: string;
  readonly environment: string | null;
  readonly fallback: string | null;
}

export interface ArgumentDescription {
  readonly name: string;
  readonly description: string;
  readonly variadic: boolean;
  /** Its possible values; empty for any. */
  readonly choices: readonly string[];
}

export interface CommandDescription {
  /** The words after the program's name: none for the program itself, `store check` for a command below another. */
  readonly path: readonly string[];
  readonly description: string;
  /** The words of its help after its name: `[options] <build-id>`. */
  readonly usage: string;
  readonly options: readonly OptionDescription[];
  readonly arguments: readonly ArgumentDescription[];
  /** The text of the help after the options. */
  readonly notes: string;
  readonly commands: readonly CommandDescription[];
}

/** Values by the placeholder of an option: the help names them so. */
const valuesByPlaceholder: Readonly<Record<string, ValueKind>> = {
  file: 'file',
  folder: 'folder',
  step: stepsToStopAt,
  format: ['qcow2', 'raw'],
};

export function describeCommand(command: Command, path: readonly string[] = []): CommandDescription {
  const help = command.createHelp();
  const children = help.visibleCommands(command);
  const names = children.map((child) => child.name());
  return {
    path,
    description: command.description(),
    usage: command.usage(),
    options: help.visibleOptions(command).map(describeOption),
    arguments: command.registeredArguments.map(describeArgument),
    notes: notesOf(command),
    commands: children.map((child) => {
      const described = describeCommand(child, [...path, child.name()]);
      // The command `help`, which commander adds, takes the name of another one.
      if (child.name() !== 'help') return described;
      return { ...described, arguments: described.arguments.map((argument) => ({ ...argument, choices: names })) };
    }),
  };
}

/** All commands, each before those below it. */
export function allCommands(command: CommandDescription): CommandDescription[] {
  return [command, ...command.commands.flatMap(allCommands)];
}

function describeOption(option: Option): OptionDescription {
  const [, placeholder = ''] = /[<[]([^>\]]+)[>\]]$/.exec(option.flags) ?? [];
  const takesValue = option.required || option.optional;
  return {
    names: [option.long, option.short].filter((name) => name !== undefined && name !== null),
    placeholder,
    value: takesValue ? (option.argChoices ?? valuesByPlaceholder[placeholder] ?? 'text') : 'none',
    description: option.description,
    environment: option.envVar ?? null,
    fallback: option.defaultValueDescription ?? plainDefault(option.defaultValue),
  };
}

function plainDefault(value: unknown): string | null {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : null;
}

function describeArgument(argument: Argument): ArgumentDescription {
  return {
    name: argument.name(),
    description: argument.description,
    variadic: argument.variadic,
    choices: argument.argChoices ?? [],
  };
}

function notesOf(command: Command): string {
  let written = '';
  const shown = command.configureOutput();
  command.configureOutput({
    ...shown,
    writeOut: (text) => {
      written += text;
    },
  });
  command.outputHelp();
  command.configureOutput(shown);
  return written.slice(command.helpInformation().length).trim();
}
