/** What must not hurt: hostile text in logs, and servers, networks and runs that go away. */
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Fleet, type Job, until } from './fleet';
import { closed, openLog, sees, pictured, signedIn, startBrowser, type Viewer, visible } from './viewer';

let fleet: Fleet;
let browser: Browser;
let viewer: Viewer;

beforeAll(async () => {
  fleet = await Fleet.start();
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
});
beforeEach(async () => {
  viewer = await signedIn(browser, fleet);
});
afterEach(async (context) => {
  await pictured(viewer, context.task.name);
  // A browser notes requests that no server answered; nothing else may be in the console.
  await closed(viewer, /net::ERR_|status of (404|502|503|504|500)/);
});

/** A script that prints bytes exactly, whatever they are. */
function prints(...texts: string[]): string {
  return texts.map((text) => `printf '%s' '${Buffer.from(text).toString('base64')}' | base64 -d`).join('\n');
}

describe('hostile text', () => {
  const ESC = '\x1b';
  let job: Job;
  beforeAll(async () => {
    const text = [
      '<script>window.hacked = 1; alert(1)</script><img src=x onerror="window.hacked=1"><b>bold?</b>',
      `${ESC}]8;;javascript:window.hacked=1${ESC}\\click me${ESC}]8;;${ESC}\\`,
      `${ESC}]8;;data:text/html,<script>1</script>\x07data link${ESC}]8;;\x07`,
      `bell\x07 nul\0 back\b del\x7f escape${ESC}`,
      `title${ESC}]0;owned\x07 cursor${ESC}[2J${ESC}[H${ESC}[999B here`,
      'right \u202eto left\u202c and \u2066isolated\u2069',
      'csi as one byte \x9b31m and \u2028 separator',
      '::error file=<img src=x>,line=1::<script>alert(2)</script>',
      'done',
    ].join('\n');
    job = await fleet.ended((await fleet.submit('hostile', [{ name: '<script>alert(3)</script>', run: prints(`${text}\n`) }])).id);
  });

  it('is text: no script runs, no tag is made, no harmful link', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await page.keyboard.press('G');
    await sees(page, /^done$/);
    await sees(page, '<script>window.hacked = 1; alert(1)</script><img src=x onerror="window.hacked=1"><b>bold?</b>');
    await sees(page, /^click me$/);
    expect(await page.locator('.log-window img, .log-window script, .log-window b').count()).toBe(0);
    const links = await page.locator('.log-text a').evaluateAll((all) => all.map((a) => (a as HTMLAnchorElement).protocol));
    expect(links.filter((protocol) => protocol !== 'http:' && protocol !== 'https:')).toEqual([]);
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false);
    await sees(page, 'bell\u2407 nul\u2400');
    await sees(page, 'del\u2421 escape\u241b');
    await sees(page, 'right <202E>to left<202C>');
    expect(await page.title()).not.toContain('owned');
    const raw = await page.locator('.log-window').evaluate((e) => e.textContent ?? '');
    expect(raw).not.toMatch(/[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]/);
  });
});

describe('very long lines', () => {
  it('are cut, and shown in full when asked for', async () => {
    const { page } = viewer;
    const made = await fleet.submit('long', [
      { name: 'Long', run: `head -c 1048576 /dev/zero | tr '\\0' 'a'; echo THE-END\nfor i in 1 2 3; do head -c 1048576 /dev/zero | tr '\\0' 'b'; echo; done\necho behind it` },
    ]);
    const job = await fleet.ended(made.id);
    await openLog(viewer, fleet, job.id);
    await sees(page, 'behind it');
    await page.keyboard.press('g');
    const more = page.getByRole('button', { name: /Show more/ });
    await until('the button', async () => (await more.count()) > 0);
    const length = (): Promise<number> => page.evaluate(() => Math.max(...[...document.querySelectorAll('.log-text')].map((e) => e.textContent?.length ?? 0)));
    expect(await length()).toBeLessThan(10_000);
    expect(await more.first().textContent()).toMatch(/[KM]iB left/);
    for (let presses = 0; presses < 10; presses += 1) {
      const row = page.locator('.log-row', { hasText: 'aaaaaaaa' }).first();
      const button = row.getByRole('button', { name: /Show more/ });
      if ((await button.count()) === 0) break;
      const before = await length();
      await button.click();
      await until('more text', async () => (await length()) > before);
    }
    expect(await length()).toBe(1_048_576 + 'THE-END'.length);
  });
});

describe('a log that reached its limit', () => {
  it('says where it ends, and why', async () => {
    const small = await Fleet.start(1, { MAX_LOG: '64K' });
    try {
      const view = await signedIn(browser, small);
      const job = await small.ended((await small.submit('limit', [{ name: 'Much', run: 'seq 1 100000' }])).id);
      await openLog(view, small, job.id);
      await view.page.keyboard.press('G');
      const notice = view.page.locator('.log-warning', { hasText: 'the log ends here: it reached its limit of 65536 bytes' });
      await notice.waitFor();
      expect(await view.page.locator('.log-live').textContent()).toBe('Complete');
      await closed(view);
    } finally {
      await small.stop();
    }
  });
});

const TICKS = [{ name: 'Ticks', run: 'for i in $(seq 1 3000); do echo "tick $i"; sleep 0.05; done' }];

async function ticking(name: string): Promise<Job> {
  const job = await fleet.submit(name, TICKS);
  await until('the job runs', async () => (await fleet.job(job.id)).status === 'running');
  return job;
}

async function cancelled(job: Job): Promise<void> {
  await fleet.api(`/runs/${job.run}/cancel`, { method: 'POST' });
  await fleet.ended(job.id);
}

const last = async (): Promise<number> => Math.max(0, ...(await visible(viewer.page)).map((line) => Number(/^tick (\d+)$/.exec(line.text)?.[1] ?? 0)));
const live = (): Promise<string | null> => viewer.page.locator('.log-live').textContent();

describe('while a log is followed', () => {
  it('the server may restart: the page says so, and goes on without a gap', async () => {
    const job = await ticking('restart');
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await until('live', async () => (await live()) === 'Live');
    await until('some ticks', async () => (await last()) > 10);
    await fleet.stopServer();
    await until('not live', async () => (await live()) === 'Not live');
    await page.getByText(/The connection is lost. This is the log as it was at/).waitFor();
    const then = await last();
    await fleet.startServer();
    await until('live again', async () => (await live()) === 'Live', 30_000);
    await until('new ticks', async () => (await last()) > then + 10, 30_000);
    const shown = (await visible(page)).flatMap((line) => /^tick (\d+)$/.exec(line.text)?.[1] ?? []).map(Number);
    expect(shown.every((n, i) => i === 0 || n === (shown[i - 1] ?? 0) + 1)).toBe(true);
    await page.getByText(/The connection is lost/).waitFor({ state: 'detached' });
    await cancelled(job);
    await until('complete', async () => (await live()) === 'Complete');
  });

  it('the network may go: the page says so, and recovers by itself', async () => {
    const job = await ticking('network');
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await until('live', async () => (await live()) === 'Live');
    await page.context().setOffline(true);
    await until('not live', async () => (await live()) === 'Not live');
    const then = await last();
    await page.waitForTimeout(500);
    expect(await live()).toBe('Not live');
    await page.context().setOffline(false);
    await until('live again', async () => (await live()) === 'Live', 20_000);
    await until('new ticks', async () => (await last()) > then + 5);
    await cancelled(job);
  });
});

describe('a complete log', () => {
  it('waits for the network when lines are missing, and loads them when it is back', async () => {
    const made = await fleet.submit('offline', [{ name: 'Many', run: 'seq 1 20000' }]);
    const job = await fleet.ended(made.id);
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await sees(page, /^20000$/);
    await page.context().setOffline(true);
    await page.locator('.log-scroll').evaluate((e) => (e.scrollTop = e.scrollHeight / 2));
    await page.getByText(/Lines cannot be loaded/).waitFor();
    await page.context().setOffline(false);
    await page.getByText(/Lines cannot be loaded/).waitFor({ state: 'detached' });
    await until('the lines', async () => (await visible(page)).every((line) => line.text !== ''));
  });
});

describe('when the run is deleted while one looks at it', () => {
  it('the page says so and calls nothing live', async () => {
    await fleet.remember();
    const job = await ticking('deleted');
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await until('some ticks', async () => (await last()) > 5);
    await fleet.forget();
    await page.getByText('This log was deleted at the server.').waitFor();
    expect(await live()).toBe('Deleted');
    expect(await page.locator('.log-live.live').count()).toBe(0);
    expect(await page.getByRole('button', { name: /Follow/ }).count()).toBe(0);
    expect(await page.locator('.log').getByText('running').count()).toBe(0);
    // What was on screen can still be read.
    expect((await visible(page)).length).toBeGreaterThan(3);
  });

  it('the page of a run says so, whether the run was running or over', async () => {
    await fleet.remember();
    const over = await fleet.ended((await fleet.submit('over', [{ name: 'One', run: 'echo one' }])).id);
    const running = await ticking('running');
    const { page } = viewer;
    const other = await page.context().newPage();
    await page.goto(`${fleet.pages}/ui/runs/${running.run}`);
    await other.goto(`${fleet.pages}/ui/runs/${over.run}`);
    await page.getByRole('button', { name: 'Cancel run' }).waitFor();
    await other.getByRole('button', { name: 'Run again' }).waitFor();
    await fleet.forget();
    for (const each of [page, other]) {
      await each.getByRole('heading', { name: 'This run was deleted' }).waitFor({ timeout: 30_000 });
      expect(await each.getByRole('button', { name: /Cancel run|Run again/ }).count()).toBe(0);
      await until('the title to call nothing live', async () => (await each.title()) === 'Run · Fleetfoot');
    }
    expect(await page.locator('link[rel=icon]').getAttribute('href')).toMatch(/idle/);
  });

  it('a complete log says so as soon as further lines are asked for', async () => {
    await fleet.remember();
    const job = await fleet.ended((await fleet.submit('gone', [{ name: 'Many', run: 'seq 1 20000' }])).id);
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await sees(page, /^20000$/);
    await fleet.forget();
    await page.locator('.log-scroll').evaluate((e) => (e.scrollTop = e.scrollHeight / 2));
    await page.getByText('This log was deleted at the server.').waitFor();
    expect(await live()).toBe('Deleted');
  });
});
