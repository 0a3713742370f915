import { readFile } from 'node:fs/promises';
import { maximumCopyrightBytes, parseCopyrightFiles } from './copyright-files.ts';
import { maximumTouchedBytes, parseTouched, type TouchedFiles } from './touched-files.ts';

/** The findings of the last look at a finished image. One script makes them: each takes 0.1 s to start in an emulated vm. */
export interface Findings {
  /** Null where the image's tools could not make the list. */
  readonly touched: TouchedFiles | null;
  /** The copyright files of its packages, by the packages' names. */
  readonly copyrights: ReadonlyMap<string, Uint8Array>;
}

/** Most bytes of the outbox that `readFindings` reads. */
export const maximumFindingsBytes = maximumTouchedBytes + maximumCopyrightBytes;

/** Reads the outbox of scripts/touched.sh and scripts/copyright.sh. */
export async function readFindings(path: string): Promise<Findings> {
  const output = await readFile(path);
  const { touched, end } = parseTouched(output);
  return { touched, copyrights: parseCopyrightFiles(output.subarray(end)) };
}
