import { Argument, type Command } from 'commander';
import { version } from '#lib/version.ts';
import { bashCompletion } from '../command-line/bash.ts';
import { describeCommand } from '../command-line/describe.ts';
import { manualPage } from '../command-line/man.ts';
import { zshCompletion } from '../command-line/zsh.ts';

/** Day of the last change of the manual page that a reader would notice. */
const revised = '2026-11-26';

const shells = { bash: bashCompletion, zsh: zshCompletion };

/** Adds the commands that write completion scripts and the manual page, from the definitions of all commands. */
export function addDescriptions(program: Command): void {
  program
    .command('completion')
    .description('Writes a script that completes commands, options and values in a shell.')
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(shells)))
    .addHelpText(
      'after',
      `
Examples:
  $ source <(imagebuilder completion bash)
  $ imagebuilder completion bash >/etc/bash_completion.d/imagebuilder
  $ imagebuilder completion zsh >/usr/local/share/zsh/site-functions/_imagebuilder`,
    )
    .action((shell: keyof typeof shells) => {
      process.stdout.write(shells[shell](program.name(), describeCommand(program)));
    });

  program
    .command('man')
    .description('Writes the manual page.')
    .addHelpText(
      'after',
      `
Examples:
  $ imagebuilder man | man --local-file -
  $ imagebuilder man >/usr/local/share/man/man1/imagebuilder.1`,
    )
    .action(() => {
      process.stdout.write(manualPage(program.name(), describeCommand(program), { version, revised }));
    });
}
