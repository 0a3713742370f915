import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

/** A real browser without a window: Debian's Chromium, or what other distributions have of it. */

const programs = ['chromium', 'google-chrome-stable', 'chromium-browser'];

/** Starts it with a new profile, which is gone when it is closed. Throws an Error where this machine has none. */
export async function startChromium(): Promise<Browser> {
  return await chromium.launch({
    executablePath: await findProgram(),
    // Root has no other way, and a new profile must not call its maker's servers.
    chromiumSandbox: false,
    args: [
      ...['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
      ...['--disable-component-update', '--disable-sync'],
    ],
  });
}

async function findProgram(): Promise<string> {
  for (const program of programs) {
    for (const folder of (process.env.PATH ?? '').split(delimiter)) {
      const path = join(folder, program);
      const found = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (found) return path;
    }
  }
  throw new Error(
    `the live page needs a browser, and this machine has none of ${programs.join(', ')}: apt-get install chromium`,
  );
}
