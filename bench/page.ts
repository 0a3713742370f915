import { setTimeout as sleep } from 'node:timers/promises';
import type { Page } from 'playwright-core';
import { startChromium } from '../lab/page/chromium.ts';
import { type ManyBuilds, writeManyBuilds } from '../lab/page/many-builds.ts';
import { startPageService } from '../lab/page/page-service.ts';

/** Times the live page in Chromium while a build among many has news once a second. */

export interface PageMeasurement {
  readonly builds: number;
  /** Elements and texts of the page. */
  readonly nodes: number;
  readonly heapBytes: number;
  /** Work of the page's thread for each second: all of it, its scripts, and style with layout. */
  readonly workMs: number;
  readonly scriptMs: number;
  readonly layoutMs: number;
}

export interface PageOptions {
  readonly numbersOfBuilds: readonly number[];
  readonly seconds: number;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
}

export async function measurePage(options: PageOptions): Promise<PageMeasurement[]> {
  const measurements: PageMeasurement[] = [];
  for (const count of options.numbersOfBuilds) {
    options.signal.throwIfAborted();
    options.onProgress(`${count} builds`);
    await using service = await startPageService();
    await using many = await writeManyBuilds(service, count);
    await using browser = await startChromium();
    const page = await browser.newPage();
    await page.goto(`${service.url}/`);
    await page.getByLabel('Token').fill(service.tokens.operator);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await showAll(page, count);
    // The row with the news is on the screen.
    await page.evaluate('scrollTo(0, 0)');
    measurements.push({ builds: count, ...(await measure(page, many, options)) });
  }
  return measurements;
}

/** Clicks until all builds are in the list. */
async function showAll(page: Page, count: number): Promise<void> {
  const rows = page.locator('.builds li');
  await rows.first().waitFor();
  for (let shown = 0; shown < count; ) {
    await rows.nth(shown).waitFor();
    shown = await rows.count();
    const more = page.getByRole('button', { name: 'Show older builds' });
    if (shown < count) await more.click();
  }
}

async function measure(page: Page, many: ManyBuilds, { seconds, signal }: PageOptions) {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const read = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    const values = new Map(metrics.map(({ name, value }) => [name, value]));
    return (name: string) => values.get(name) ?? 0;
  };
  const before = await read();
  for (let second = 1; second <= seconds; second += 1) {
    signal.throwIfAborted();
    await many.progress(second / seconds, `news ${second}`);
    // A look at the page would count as its own work.
    await sleep(1_000);
  }
  const after = await read();
  const lasted = after('Timestamp') - before('Timestamp');
  const milliseconds = (name: string) => ((after(name) - before(name)) * 1000) / lasted;
  return {
    nodes: after('Nodes'),
    heapBytes: after('JSHeapUsedSize'),
    workMs: milliseconds('TaskDuration'),
    scriptMs: milliseconds('ScriptDuration'),
    layoutMs: milliseconds('LayoutDuration') + milliseconds('RecalcStyleDuration'),
  };
}
