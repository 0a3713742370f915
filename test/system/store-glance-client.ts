import { exit } from 'node:process';
import type { FinishedImage } from '#lib/store/store.ts';
import { connect } from './store-cloud.ts';

/** A worker that dies in the middle of an upload to Glance: with half of it sent it kills itself. */

const image = JSON.parse(process.argv[2] ?? '') as FinishedImage;
const environment = JSON.parse(process.argv[3] ?? '') as Record<string, string>;
const { glanceStore } = await connect({ environment });
await glanceStore.put(image, {
  signal: new AbortController().signal,
  onProgress: (current, total) => {
    if (current > total / 2) process.kill(process.pid, 'SIGKILL');
  },
});
exit(0);
