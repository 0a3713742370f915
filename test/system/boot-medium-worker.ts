import { bootTrial } from '#lib/guest/vm/trial.ts';
import { mediumWays } from '#lib/kinds/cd/medium-ways.ts';
import { unprivilegedIds } from './unprivileged.ts';

/** Boots a medium for a trial, in a process that can be killed: its path and the folder to work in are the arguments. */

const [path = '', workDirectory = ''] = process.argv.slice(2);
const [way] = await mediumWays(path, { maximumBytes: 2 ** 40 });
if (way === undefined) throw new Error('the medium does not boot');
process.stdout.write('begun\n');
const { signal } = new AbortController();
await bootTrial({ path, way, accelerator: 'tcg', workDirectory, unprivilegedIds, signal });
