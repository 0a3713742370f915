import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import type { BrowserContextOptions, Page } from 'playwright-core';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { ArtifactReport } from '#lib/api/artifact-report.ts';
import type { ImageResult } from '#lib/api/image-result.ts';
import { startChromium } from '../../lab/page/chromium.ts';
import { openEventWriter } from '../../lab/page/event-writer.ts';
import { writeManyBuilds } from '../../lab/page/many-builds.ts';
import { startPageService } from '../../lab/page/page-service.ts';
import { startNginx } from '../../lab/servers/nginx.ts';
import { whenLong } from '../runner/long.ts';

/** The live page in a real browser, against a running service. */

const long = whenLong(test);
const markup = '<img src="x" onerror="document.title=1">';
const service = await startPageService({ scriptOutput: [markup, 'a needle in the log'] });
const browser = await startChromium();
test.after(async () => {
  await browser.close();
  await service[Symbol.asyncDispose]();
});

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

interface Visit extends AsyncDisposable {
  readonly page: Page;
}

/** A page of its own, whose scripts must not fail, and which must keep to its Content-Security-Policy. */
async function visit(fragment = '', options: BrowserContextOptions & { token?: string | null; base?: string } = {}) {
  const { token = service.tokens.operator, base = `${service.url}/`, ...rest } = options;
  const context = await browser.newContext(rest);
  context.setDefaultTimeout(30_000);
  const faults: string[] = [];
  context.on('console', (message) => {
    if (/Content.Security.Policy|Trusted|violat/i.test(message.text())) faults.push(message.text());
  });
  context.on('weberror', (error) => faults.push(String(error.error())));
  const page = await context.newPage();
  await page.goto(`${base}${fragment}`);
  if (token !== null) await signIn(page, token);
  return {
    page,
    async [Symbol.asyncDispose]() {
      await context.close();
      assert.equal(faults, []);
    },
  } satisfies Visit;
}

async function signIn(page: Page, token: string): Promise<void> {
  await page.getByLabel('Token').fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

const connection = (page: Page, text: string) => page.locator('#connection-text', { hasText: text }).waitFor();
const badge = (page: Page, text: string) => page.locator('.build-head .badge', { hasText: text }).waitFor();
const panel = (page: Page, name: string) => page.getByRole('region', { name, exact: true });
const logOf = (page: Page) => page.getByRole('region', { name: 'Lines of the log' });
const row = (page: Page, ticket: string) => page.locator('.builds li', { hasText: ticket });
const idOf = (page: Page) => /#build\/([0-9a-f-]{36})$/.exec(page.url())?.[1] ?? '';

async function storedLog(buildId: string): Promise<string> {
  return Buffer.concat(await Array.fromAsync(service.client.log(buildId))).toString();
}

/** The page shows each line of this log, once, with the time of day in place of the moment. */
async function assertWholeLog(page: Page, log: string): Promise<void> {
  const wanted = log.split('\n').slice(0, -1);
  const lines = logOf(page).getByRole('listitem');
  await lines.nth(wanted.length - 1).waitFor();
  const shown = (await lines.allTextContents()).map((line) => line.replace(/^[\d:]{8} /, ''));
  assert.equal(
    shown,
    wanted.map((line) => line.replace(/^\S+Z /, '')),
  );
}

/** Rules that axe-core finds broken, with their places, dark and light. */
async function accessibilityFaults(page: Page): Promise<string[]> {
  const found: string[] = [];
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.evaluate(axe);
    const text = await page.evaluate<string>(
      `axe.run().then(({ violations }) => JSON.stringify(violations.flatMap(({ id, nodes }) =>
        nodes.map(({ html, failureSummary }) => id + ' at ' + html + ': ' + failureSummary))))`,
    );
    found.push(...(JSON.parse(text) as string[]).map((fault) => `${colorScheme}: ${fault}`));
  }
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
  return found;
}

test('the token is asked for once, stays in the tab, and is forgotten at the end', async () => {
  await using visited = await visit('', { token: null });
  const { page } = visited;
  const urls: string[] = [];
  page.context().on('request', (request) => urls.push(request.url()));
  const ask = page.getByRole('heading', { name: 'Sign in' });
  await signIn(page, 'f'.repeat(48));
  await page.getByText('does not know this token').waitFor();
  await signIn(page, service.tokens.operator);
  await connection(page, 'Live');
  await page.reload();
  await connection(page, 'Live');
  assert.not(await ask.isVisible());
  assert.is(await page.evaluate('localStorage.length + document.cookie.length'), 0);
  assert.not(urls.some((url) => url.includes(service.tokens.operator)));
  const other = await page.context().newPage();
  await other.goto(`${service.url}/`);
  await other.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await ask.waitFor();
  assert.is(await page.evaluate('sessionStorage.length'), 0);
  await page.reload();
  await ask.waitFor();
});

test('a build is followed from the form to its result, by the keyboard alone', async () => {
  await using visited = await visit();
  const { page } = visited;
  const { keyboard } = page;
  await connection(page, 'Live');
  const focused = () => page.evaluate<string>('document.activeElement.id || document.activeElement.textContent');
  const tabTo = async (wanted: string) => {
    for (let presses = 0; presses < 60 && (await focused()) !== wanted; presses += 1) await keyboard.press('Tab');
    assert.is(await focused(), wanted);
  };
  await tabTo('nav-new');
  await keyboard.press('Enter');
  await page.getByRole('heading', { name: 'New build' }).waitFor();
  await tabTo('field-package_list');
  await keyboard.type('libfoo\nslow; rm');
  await tabTo('Submit build');
  await keyboard.press('Enter');
  const summary = page.locator('.summary', { hasText: 'faults' });
  await summary.waitFor();
  assert.match(await focused(), /^The request has/);
  assert.match(await page.locator('#field-package_list-fault').innerText(), /^line 2 /);
  for (const name of ['ticket_id', 'series', 'url_list', 'progress_trigger', 'package_list']) {
    assert.is(await page.locator(`#field-${name}`).getAttribute('aria-invalid'), 'true', name);
    assert.not.equal(await page.locator(`#field-${name}-fault`).innerText(), '', name);
  }
  assert.equal(await accessibilityFaults(page), [], 'the form with faults');

  const fill = async (name: string, text: string) => {
    await tabTo(`field-${name}`);
    await keyboard.press('Control+A');
    await keyboard.type(text);
  };
  service.gate.close();
  await fill('ticket_id', markup);
  await fill('series', service.series);
  await fill('url_list', service.baseUrl);
  await fill('package_list', 'libfoo\nslow');
  await fill('ppa_list', 'ppa:project/ppaname');
  await fill('progress_trigger', service.exchange);
  await tabTo('Submit build');
  await keyboard.press('Enter');
  await badge(page, 'running');
  await service.gate.reached();
  const log = logOf(page);
  await log
    .getByText(/^\d\d:\d\d:\d\d fetch /)
    .first()
    .waitFor();
  await log.getByText(markup).waitFor();
  assert.is(await page.getByRole('heading', { level: 1 }).innerText(), markup);
  assert.is(await page.locator('main img, main script').count(), 0);
  await page.getByRole('listitem').filter({ hasText: 'install' }).filter({ hasText: 'now' }).waitFor();
  await tabTo('log-search');
  await keyboard.type('NEEDLE');
  await page.getByText('1 of 1 match').waitFor();
  assert.equal(await accessibilityFaults(page), [], 'a build that runs');

  service.gate.open();
  await badge(page, 'completed');
  const whole = await storedLog(idOf(page));
  await assertWholeLog(page, whole);
  await page.reload();
  await assertWholeLog(page, whole);
  const saved = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Save log' }).click();
  assert.is(await readFile(await (await saved).path(), 'utf8'), whole);
  const packages = panel(page, 'Packages');
  await packages.getByText('libfoo').waitFor();
  await packages.getByText('slow').waitFor();
  await panel(page, 'Changed files').getByText('/etc/made-by-slow').waitFor();
  await panel(page, 'Image').getByText('SHA-256').waitFor();
  const manifest = page.waitForEvent('download');
  await panel(page, 'Artifacts')
    .getByRole('button', { name: /\.manifest$/ })
    .click();
  assert.match(await readFile(await (await manifest).path(), 'utf8'), /^libfoo\t/m);
  assert.equal(await accessibilityFaults(page), [], 'a build that is completed');
});

test('a build is cancelled, and repeated', async () => {
  service.gate.close();
  const { accepted } = await service.client.submit(service.request({ package_list: ['slow'] }));
  await using visited = await visit(`#build/${accepted.build_id}`);
  const { page } = visited;
  await badge(page, 'running');
  await service.gate.reached();
  page.once('dialog', (dialog) => void dialog.dismiss());
  await page.getByRole('button', { name: 'Cancel build' }).click();
  assert.is(idOf(page), accepted.build_id);
  page.once('dialog', (dialog) => void dialog.accept());
  await page.getByRole('button', { name: 'Cancel build' }).click();
  await badge(page, 'cancelled');
  service.gate.open();
  await page.getByRole('button', { name: 'Retry' }).click();
  await page.getByText('retry of an earlier build').waitFor();
  assert.is.not(idOf(page), accepted.build_id);
  await badge(page, 'completed');
});

test('a build that fails says whose fault it is and what to do, also to those who may only look', async () => {
  const base_image = { image_type: 'cloud' as const, url_list: [`${service.baseUrl}.gone`], series: service.series };
  const { accepted } = await service.client.submit(service.request({ base_image }));
  await using visited = await visit(`#build/${accepted.build_id}`, { token: service.tokens.reader });
  const { page } = visited;
  await badge(page, 'failed');
  const error = panel(page, 'Error');
  await error.getByText('The request has to change').waitFor();
  await error.getByText('Check the URLs of the base image.').waitFor();
  assert.equal(await accessibilityFaults(page), [], 'a build that has failed');
  await page.getByRole('button', { name: 'Retry' }).click();
  await page.getByRole('status').getByText('watcher').waitFor();
  assert.is(idOf(page), accepted.build_id);
});

test('filters stand in the address, and hold for what comes', async () => {
  const ticket = 'other-team-1';
  const base_image = { image_type: 'cloud' as const, url_list: [`${service.baseUrl}.gone`], series: 'trusty' };
  await service.client.submit(service.request({ ticket_id: ticket, base_image }));
  await using visited = await visit();
  const { page } = visited;
  await row(page, ticket).waitFor();
  assert.ok((await page.locator('.builds li').count()) > 1);
  await page.getByRole('searchbox', { name: 'Ticket' }).fill('OTHER-team');
  await page.getByRole('combobox', { name: 'Series' }).fill('trusty');
  await page.waitForURL(/#\?ticket=OTHER-team&series=trusty$/);
  assert.is(await page.locator('.builds li').count(), 1);
  await page.reload();
  await row(page, ticket).waitFor();
  assert.is(await page.locator('.builds li').count(), 1);
  await page.getByRole('button', { name: /^failed/ }).click();
  await row(page, ticket)
    .and(page.locator('li', { hasText: 'failed' }))
    .waitFor();
  await page.getByRole('button', { name: /^running/ }).click();
  await page.getByText('No build matches the filter.').waitFor();
  await page.goBack();
  await row(page, ticket).waitFor();
  assert.equal(await accessibilityFaults(page), [], 'the list');
});

/** The files of a build whose base was a whole release of a system-image server, by their roles. */
function touchResult(): { image: ImageResult; artifacts: ArtifactReport[] } {
  const checksums = { sha256: '3f'.repeat(32), sha512: '3f'.repeat(64) };
  const stem = `ubuntu-${checksums.sha256}`;
  const places = (name: string) =>
    ({ name, location: `file:///images/x/${name}`, id: `x/${name}`, store: 'file' }) as const;
  const names = [
    ['device', 'device-42.tar.xz'],
    ['signature', 'device-42.tar.xz.asc'],
    ['custom', `custom-${checksums.sha256}.tar.xz`],
    ['version', 'version-1.tar.xz'],
    ['companion', `${stem}.json`],
    ['signature', `${stem}.tar.xz.asc`],
    ['signature', `${stem}.json.asc`],
    ['manifest', `${stem}.manifest`],
  ] as const;
  const mediaType = 'application/octet-stream';
  return {
    image: { ...places(`${stem}.tar.xz`), size: 400_000_000, checksums, format: 'tar.xz', packages: [] },
    artifacts: names.map(([role, name]) => ({ role, ...places(name), media_type: mediaType, size: 1234, checksums })),
  };
}

test('the parts and signatures of a touch image are listed by their roles, also on a phone', async () => {
  const result = touchResult();
  await using writer = await openEventWriter(service.amqpUrl);
  const id = randomUUID();
  writer.append(id, 'touch-release', {});
  const ended = {
    state: 'completed',
    worker: 'w',
    attempt: 1,
    sequence: 1,
    progress: 1,
    message: 'The image is stored',
  } as const;
  writer.append(id, 'touch-release', { ...ended, ...result });
  await writer.flush();
  const viewport = { width: 360, height: 740 };
  await using visited = await visit(`#build/${id}`, { viewport, isMobile: true, hasTouch: true });
  const { page } = visited;
  await badge(page, 'completed');
  await panel(page, 'Image').getByText(result.image.name, { exact: true }).waitFor();
  await panel(page, 'Image').getByText('tar.xz', { exact: false }).first().waitFor();
  const rows = panel(page, 'Artifacts').locator('tbody tr');
  await rows.nth(result.artifacts.length - 1).waitFor();
  const column = async (number: number) => await rows.locator(`td:nth-child(${number})`).allTextContents();
  assert.equal(
    await column(1),
    result.artifacts.map(({ role }) => role),
  );
  assert.equal(
    await column(2),
    result.artifacts.map(({ name }) => name),
  );
  assert.is(await page.evaluate('document.documentElement.scrollWidth'), viewport.width);
  assert.equal(await accessibilityFaults(page), []);
});

test('nothing is wider than a phone', async () => {
  const viewport = { width: 360, height: 740 };
  await using visited = await visit('', { viewport, isMobile: true, hasTouch: true });
  const { page } = visited;
  await connection(page, 'Live');
  await page.locator('.builds li').first().waitFor();
  const widths = async () => page.evaluate('document.documentElement.scrollWidth');
  assert.is(await widths(), viewport.width, 'the list');
  await row(page, 'completed').first().click();
  await panel(page, 'Artifacts').waitFor();
  assert.is(await widths(), viewport.width, 'a build');
  assert.equal(await accessibilityFaults(page), []);
  await page.getByRole('link', { name: 'New build' }).click();
  await page.getByText('More options').click();
  assert.is(await widths(), viewport.width, 'the form');
});

long('the page is live again after the service was away', async () => {
  await using visited = await visit();
  const { page } = visited;
  await connection(page, 'Live');
  await service.stop();
  await connection(page, 'Offline');
  await page.getByRole('alert').getByText('trying again').waitFor();
  assert.ok((await page.locator('.builds li').count()) > 1, 'still shown');
  await service.start();
  await connection(page, 'Live');
  await page.getByRole('alert').getByText('trying again').waitFor({ state: 'hidden' });
  const base_image = { image_type: 'cloud' as const, url_list: [`${service.baseUrl}.gone`], series: service.series };
  await service.client.submit(service.request({ ticket_id: 'after the restart', base_image }));
  await row(page, 'after the restart').filter({ hasText: 'failed' }).waitFor();
});

test('without RabbitMQ the page says so and keeps what it knows, and when RabbitMQ is back it goes on by itself', async () => {
  const ticket = 'while RabbitMQ was away';
  await using visited = await visit();
  await using form = await visit('#new');
  const { page } = visited;
  await connection(page, 'Live');
  const shown = await page.locator('.builds li').count();
  assert.ok(shown > 1);
  const [ended = ''] = await page.locator('.builds a').evaluateAll((links) => links.map((link) => String(link)));
  await using build = await visit(new URL(ended).hash);
  const fields = { ticket_id: ticket, series: 'trusty', url_list: `${service.baseUrl}.gone`, package_list: 'libfoo' };
  for (const [name, value] of Object.entries({ ...fields, progress_trigger: service.exchange })) {
    await form.page.locator(`#field-${name}`).fill(value);
  }
  await service.rabbitMq.stop();
  try {
    for (const one of [page, build.page]) {
      await one
        .getByRole('alert')
        .getByText('RabbitMQ is out of reach: what is shown is the last that is known.')
        .waitFor();
      await connection(one, 'Live');
    }
    await page.getByText('Out of reach', { exact: true }).waitFor();
    assert.is(await page.locator('.builds li').count(), shown);
    await panel(build.page, 'Error').or(panel(build.page, 'Image')).first().waitFor();
    assert.equal(await accessibilityFaults(page), [], 'the list without RabbitMQ');
    await form.page.getByRole('button', { name: 'Submit build' }).click();
    await form.page.getByRole('status').getByText('RabbitMQ').waitFor();
    assert.is(await form.page.locator('#field-ticket_id').inputValue(), ticket, 'the form keeps what was written');
  } finally {
    await service.rabbitMq.start();
  }
  for (const one of [page, build.page]) {
    await one.getByRole('alert').getByText('RabbitMQ is out of reach').waitFor({ state: 'hidden' });
  }
  await page.getByText('Reachable', { exact: true }).waitFor();
  await form.page.getByRole('button', { name: 'Submit build' }).click();
  await badge(form.page, 'failed');
  await row(page, ticket).filter({ hasText: 'failed' }).waitFor();
});

long(
  'behind nginx below a path of its own the page follows a build, and polls where nginx holds streams back',
  async () => {
    const { host } = new URL(service.url);
    const locations = `
    location /tools/images/ { proxy_pass http://${host}/; }
    location /held/ {
      proxy_pass http://${host}/;
      proxy_http_version 1.0;
      proxy_ignore_headers X-Accel-Buffering;
      proxy_buffer_size 1m;
      proxy_buffers 8 1m;
    }`;
    service.gate.close();
    const { accepted } = await service.client.submit(service.request({ package_list: ['slow'] }));
    const fragment = `#build/${accepted.build_id}`;
    const first = await startNginx(locations);
    await using visited = await visit(fragment, { base: `${first.url}/tools/images/` });
    await using held = await visit(fragment, { base: `${first.url}/held/api/v1/imagebuilder/` });
    const pages = [visited.page, held.page];
    for (const page of pages) {
      await badge(page, 'running');
      await logOf(page).getByText(markup).waitFor();
    }
    await connection(held.page, 'Polling');
    await held.page.getByText('lines come every few seconds').waitFor();
    await first[Symbol.asyncDispose]();
    for (const page of pages) await connection(page, 'Offline');
    service.gate.open();
    await using _second = await startNginx(locations, Number(new URL(first.url).port));
    for (const page of pages) {
      await badge(page, 'completed');
      await assertWholeLog(page, await storedLog(accepted.build_id));
    }
  },
);

test('news of one build among a thousand change its own row alone', async () => {
  await using many = await writeManyBuilds(service, 1_000);
  await using visited = await visit();
  const { page } = visited;
  const rows = page.locator('.builds li');
  await many.progress(0.1, 'a tenth of it');
  const news = (text: string) => row(page, many.running).getByText(text).waitFor();
  await news('a tenth of it');
  const more = page.getByRole('button', { name: 'Show older builds' });
  for (let shown = 0; await more.isVisible(); shown = await rows.count()) {
    await more.click();
    await rows.nth(shown + 1).waitFor();
  }
  assert.ok((await rows.count()) >= 1_000);
  // Times that pass are left out.
  await page.evaluate(`(() => {
    globalThis.touched = new Set();
    const note = (node) => {
      if (!(node instanceof Element) || node.closest('.time') !== null) return;
      touched.add(node.closest('li')?.querySelector('.ticket').textContent ?? node.outerHTML.slice(0, 200));
    };
    new MutationObserver((records) => {
      for (const { target, addedNodes } of records)
        for (const node of [target, ...addedNodes]) note(node instanceof Text ? node.parentElement : node);
    }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  })()`);
  await many.progress(0.5, 'half of it');
  await news('half of it');
  await many.progress(0.6, 'more than half of it');
  await news('more than half of it');
  assert.equal(await page.evaluate('[...touched]'), [many.running]);
});

test.run();
