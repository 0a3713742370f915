import { allCommands, type CommandDescription, type OptionDescription } from './describe.ts';

/** A script that completes the command in bash, from 4 on, by itself: it needs no package bash-completion. */
export function bashCompletion(program: string, root: CommandDescription): string {
  const commands = allCommands(root);
  return `# Completion of ${program} for bash. Load it with: source <(${program} completion bash)

# Sets \`kind\` and \`words\` to the values of an option of a command; \`kind\` is empty where it takes none.
_${program}_value() {
  kind=''
  case $1 in
${commands.flatMap(valueLines).join('\n')}
  esac
}

_${program}() {
  local current=\${COMP_WORDS[COMP_CWORD]} option=\${COMP_WORDS[COMP_CWORD - 1]}
  local command='' options='' words='' kind='' skip='' word
  COMPREPLY=()
  # bash makes three words of --option=value.
  if [[ $current == '=' ]]; then
    current=''
  elif [[ $option == '=' ]]; then
    option=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ -n $skip ]]; then
      # The value of the option before it.
      [[ $word == '=' ]] || skip=''
    elif [[ $word == '--' ]]; then
      return
    elif [[ $word == -* ]]; then
      _${program}_value "$command $word"
      skip=$kind
    else
      case "$command $word" in
${commands
  .filter(({ path }) => path.length > 0)
  .map((command) => `        '${prefixOf(command)}') command='${prefixOf(command)}' ;;`)
  .join('\n')}
      esac
    fi
  done
  _${program}_value "$command $option"
  case $kind in
    text) return ;;
    words) ;;
    file | folder)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -A "\${kind/folder/directory}" -- "$current")
      return
      ;;
    *)
      case $command in
${commands.map((command) => `        '${prefixOf(command)}') options='${namesOf(command)}' words='${wordsOf(command)}' ;;`).join('\n')}
      esac
      [[ $current == -* ]] && words=$options
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _${program} ${program}
`;
}

function prefixOf({ path }: CommandDescription): string {
  return path.map((word) => ` ${word}`).join('');
}

function namesOf({ options }: CommandDescription): string {
  return options.flatMap(({ names }) => names).join(' ');
}

/** The words that can come next: names of commands, or values of its arguments. */
function wordsOf(command: CommandDescription): string {
  const values = command.arguments.flatMap(({ choices }) => choices);
  return [...command.commands.map(({ path }) => path.at(-1)), ...values].join(' ');
}

/** A line of `case` for each option that takes a value. */
function valueLines(command: CommandDescription): string[] {
  return command.options.flatMap(({ names, value }) =>
    value === 'none' ? [] : names.map((name) => `    '${prefixOf(command)} ${name}') ${kindOf(value)} ;;`),
  );
}

function kindOf(value: OptionDescription['value']): string {
  return typeof value === 'object' ? `kind='words' words='${value.join(' ')}'` : `kind='${value}'`;
}
