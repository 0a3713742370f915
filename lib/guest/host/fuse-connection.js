// @ts-check
import { readFile } from 'node:fs/promises';
import { unescapeOctal } from '../../image/octal.js';

/**
 * The number of the FUSE connection that is mounted over `exportPath` for process `processId`, which is its name in
 * fusectl; null where nothing is mounted there. Only reads the mount table: asking the mount itself could hang.
 * @param {number} processId
 * @param {string} exportPath
 * @returns {Promise<string | null>}
 */
export async function fuseConnection(processId, exportPath) {
  const table = await readFile(`/proc/${processId}/mountinfo`, 'utf8').catch(() => '');
  for (const line of table.split('\n')) {
    const [, , device = '', , target = ''] = line.split(' ');
    if (unescapeOctal(target) === exportPath && device.startsWith('0:')) return device.slice(2);
  }
  return null;
}

/**
 * Shell text that aborts the FUSE connection `$1`: processes that wait for its server get an I/O error. It mounts
 * fusectl itself, in a namespace of its own, since containers have none.
 */
export const abortScript =
  'mount -t fusectl none /sys/fs/fuse/connections 2>/dev/null; echo 1 >"/sys/fs/fuse/connections/$1/abort"';
