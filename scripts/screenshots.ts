import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page } from 'playwright-core';
import { type BuildState, isTerminal } from '#lib/api/event.ts';
import { formatBytes } from '#lib/text.ts';
import { startChromium } from '../lab/page/chromium.ts';
import { type PageService, startPageService } from '../lab/page/page-service.ts';

/** Takes the pictures of the live page in docs/images/, in light and dark: the list, one build, the form. Needs root. */

const folder = join(import.meta.dirname, '..', 'docs', 'images');
const held = 'web-agent';
const output = [
  'Creating group _webagent with GID 997 ...',
  'Creating user _webagent with UID 997 ...',
  'Created symlink multi-user.target.wants/web-agent.service',
  'Compiling the rules of web-agent, 1 of 3 ...',
  'Compiling the rules of web-agent, 2 of 3 ...',
];

await using service = await startPageService({ scriptOutput: output, held });
await using browser = await startChromium();
const shown = await fill(service);
await mkdir(folder, { recursive: true });
for (const colorScheme of ['light', 'dark'] as const) {
  await shoot(browser, `page-list-${colorScheme}`, { colorScheme, fragment: '', height: 640 }, async (page) => {
    await page.locator('.builds li').nth(6).waitFor();
  });
  await shoot(
    browser,
    `page-build-${colorScheme}`,
    { colorScheme, fragment: `#build/${shown}`, height: 760 },
    async (page) => {
      await page
        .getByRole('listitem')
        .filter({ hasText: output.at(-1) ?? '' })
        .waitFor();
    },
  );
  await shoot(browser, `page-form-${colorScheme}`, { colorScheme, fragment: '#new', height: 760 }, async (page) => {
    await page.locator('#field-ticket_id').fill('LP-2081');
    await page.locator('#field-package_list').fill('web-agent\nlibfoo;1.0');
    await page.getByRole('button', { name: 'Submit build' }).click();
    await page.locator('.summary li').first().waitFor();
  });
}

/** Builds in every state; resolves with the id of the one that runs. */
async function fill({ client, gate, request, baseUrl, series }: PageService): Promise<string> {
  const submit = async (ticket_id: string, changes: NonNullable<Parameters<typeof request>[0]>) =>
    (await client.submit(request({ ticket_id, ...changes }))).accepted.build_id;
  const until = async (id: string, wanted: (state: BuildState) => boolean) => {
    for (;;) {
      const { running, queued, finished } = await client.status({ buildId: id });
      const [build] = [...running, ...queued, ...finished];
      if (build !== undefined && wanted(build.state)) return;
      await sleep(200);
    }
  };
  const base_image = { image_type: 'cloud' as const, url_list: [`${baseUrl}.old`], series };
  const finished: readonly [string, NonNullable<Parameters<typeof request>[0]>][] = [
    ['LP-2071', {}],
    ['LP-2072', { base_image }],
    ['LP-2073', { package_list: ['libfoo', held] }],
    ['LP-2074', { package_list: ['libfo'] }],
  ];
  for (const [ticket, changes] of finished) await until(await submit(ticket, changes), isTerminal);
  gate.close();
  const cancelled = await submit('LP-2075', { package_list: [held] });
  await until(cancelled, (state) => state === 'running');
  await client.cancel(cancelled);
  await until(cancelled, isTerminal);
  const id = await submit('LP-2077', { package_list: ['libfoo', held] });
  await gate.reached();
  await submit('LP-2078', { package_list: [held] });
  for (const ticket of ['LP-2079', 'LP-2080']) await submit(ticket, {});
  return id;
}

interface Shot {
  readonly colorScheme: 'light' | 'dark';
  readonly fragment: string;
  readonly height: number;
}

async function shoot(
  browser: Browser,
  name: string,
  { colorScheme, fragment, height }: Shot,
  prepare: (page: Page) => Promise<void>,
): Promise<void> {
  const viewport = { width: 1_060, height };
  const context = await browser.newContext({ colorScheme, viewport, timezoneId: 'UTC', reducedMotion: 'reduce' });
  const page = await context.newPage();
  await page.goto(`${service.url}/${fragment}`);
  await page.getByLabel('Token').fill(service.tokens.operator);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.locator('#connection-text', { hasText: 'Live' }).waitFor();
  await prepare(page);
  await page.mouse.move(0, 0);
  const path = join(folder, `${name}.png`);
  await page.screenshot({ path, caret: 'hide' });
  await context.close();
  console.log(`${path}: ${formatBytes((await stat(path)).size)}`);
}
