import { type ArgumentDescription, allCommands, type CommandDescription, type OptionDescription } from './describe.ts';

/** A script that completes the command in zsh: to be loaded, or to lie in a folder of `$fpath` as `_imagebuilder`. */
export function zshCompletion(program: string, root: CommandDescription): string {
  const functions = allCommands(root).map((command) => functionOf(program, command));
  return `#compdef ${program}
# Completion of ${program} for zsh. Load it after compinit with: source <(${program} completion zsh)
${functions.join('\n')}
if [[ \${funcstack[1]} == _${program} ]]; then
  _${program} "$@"
else
  compdef _${program} ${program}
fi
`;
}

function functionOf(program: string, command: CommandDescription): string {
  const name = nameOf(program, command.path);
  const options = command.options.flatMap(specifications);
  if (command.commands.length === 0) {
    return `${name}() {\n  ${words(['_arguments -s -S', ...options, ...command.arguments.map(argumentOf)])}\n}`;
  }
  const children = command.commands.map(({ path, description }) => `    ${quoted(`${path.at(-1)}:${description}`)}`);
  const cases = command.commands.map(({ path }) => `        ${path.at(-1)}) ${nameOf(program, path)} ;;`);
  return `${name}() {
  local curcontext=$curcontext state line
  local -a commands=(
${children.join('\n')}
  )
  ${words(['_arguments -C -s -S', ...options, "'1: :->command'", "'*:: :->argument'"])}
  case $state in
    command) _describe command commands ;;
    argument)
      case $line[1] in
${cases.join('\n')}
      esac
      ;;
  esac
}`;
}

/** Words of one command, each on a line. */
function words(list: readonly string[]): string {
  return list.join(' \\\n    ');
}

function argumentOf({ name, variadic, choices }: ArgumentDescription, index: number): string {
  // Not a message alone: beside one, zsh completes no options.
  const values = `(${choices.join(' ')})`;
  return quoted(`${variadic ? '*' : index + 1}:${name}:${values}`);
}

function nameOf(program: string, path: readonly string[]): string {
  return ['', program, ...path].join('_');
}

/** The option as _arguments takes it. Each may be repeated, as in bash: some take several values so. */
function specifications({ names, placeholder, value, description }: OptionDescription): string[] {
  const text = `[${description.replace(/[[\]\\]/g, '\\$&')}]`;
  const action = actionOf(placeholder, value);
  return names.map((name) => quoted(`*${name}${value === 'none' ? '' : '='}${text}${action}`));
}

function actionOf(placeholder: string, value: OptionDescription['value']): string {
  if (value === 'none') return '';
  const label = placeholder.replaceAll(':', '\\:');
  if (typeof value === 'object') return `:${label}:(${value.join(' ')})`;
  return `:${label}:${{ text: ' ', file: '_files', folder: '_files -/' }[value]}`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
