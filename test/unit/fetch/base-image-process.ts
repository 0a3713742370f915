/** Run as a process of its own: fetches argv[2] with the cache argv[3] into argv[4], and prints the result as JSON. */

import { fetchBaseImages } from '#lib/fetch/base-images.ts';
import { imageKinds } from '#lib/kinds/index.ts';
import { testClient, testIds } from './with-server.ts';

const [, , url = '', cacheDirectory = '', workDirectory = ''] = process.argv;
using client = testClient();
const [result] = await fetchBaseImages({
  urlList: [url],
  client,
  cacheDirectory,
  wanted: imageKinds.cloud.baseFile,
  cacheBytes: 10_000_000,
  maximumBytes: 10_000_000,
  workDirectory,
  unprivilegedIds: testIds,
  signal: new AbortController().signal,
});
process.stdout.write(JSON.stringify(result));
