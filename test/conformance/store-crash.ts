import { exit } from 'node:process';
import { chooseStores } from '#lib/store/choose.ts';
import type { FinishedBuild } from './finished-build.ts';
import { storeInputs } from './store-inputs.ts';

/** A worker that dies in the middle of a `put`: with half of all bytes there it kills itself. */

const { given } = JSON.parse(process.argv[2] ?? '') as FinishedBuild;
await chooseStores(await storeInputs(process.env))
  .for('cloud')
  .put(...given, {
    signal: new AbortController().signal,
    onProgress: (current, total) => {
      if (current > total / 2) process.kill(process.pid, 'SIGKILL');
    },
  });
exit(0);
