import type { Command } from 'commander';
import { doctor } from '../doctor-command.ts';
import { checkStore } from '../store-command.ts';
import { type VerifyOptions, verify } from '../verify-command.ts';
import { finish } from './options.ts';

/** Adds the commands that check a store, an image or this machine, and need no service. */
export function addChecks(program: Command): void {
  program
    .command('store')
    .description('Where finished images go.')
    .command('check')
    .description('Tries it with the settings of the environment: credentials, catalogue, quota, and a tiny upload.')
    .option('--json', 'write one JSON object per thing looked at')
    .addHelpText('after', '\nExamples:\n  $ imagebuilder store check\n  $ OS_CLOUD=lab imagebuilder store check')
    .action((options: { json?: boolean }) => finish(checkStore(options)));

  program
    .command('verify')
    .description('Says whether a signed provenance vouches for an image, or for a file beside one.')
    .argument('<image>', 'the file, as the store has it')
    .argument('<provenance>', 'its provenance: the file that ends with .provenance.json')
    .requiredOption('--key <file>', 'the public key (PEM) of the service that has built the image')
    .option('--json', 'write one JSON object')
    .addHelpText(
      'after',
      `
Exit code 1 says that the provenance does not vouch for the file, and why. It needs no service.

Example:
  $ imagebuilder verify noble-T-77-e7233533.qcow2 noble-T-77-e7233533.provenance.json --key provenance.pub`,
    )
    .action((image: string, provenance: string, options: VerifyOptions) => finish(verify(image, provenance, options)));

  program
    .command('doctor')
    .description('Says what this machine or pod can do for builds, and what would make them work or faster.')
    .option('--json', 'write one JSON object per thing looked at; the last one is what it comes to')
    .addHelpText(
      'after',
      `
Run it as the user, and with the settings, of the worker. Exit code 1 says that no build can run.

Examples:
  $ imagebuilder doctor
  $ kubectl exec deploy/build-worker -- node function/bin/imagebuilder.ts doctor`,
    )
    // A check that hangs, and was given up, must not keep the process.
    .action(async (options: { json?: boolean }) => process.exit(await doctor(options)));
}
