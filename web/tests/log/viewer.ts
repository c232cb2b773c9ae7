/** The log viewer as a test sees it: opens it in Chromium, and says what is on screen. */
import { type Browser, chromium, type Page, type Request } from 'playwright-core';
import { expect } from 'vitest';
import { CHROMIUM, type Fleet, until } from './fleet';

/** Starts a browser. */
export function startBrowser(): Promise<Browser> {
  return chromium.launch(CHROMIUM);
}

/** What a page complained about. */
export interface Viewer {
  readonly page: Page;
  /** Errors of the console and of scripts so far. */
  readonly errors: string[];
  /** Addresses on other hosts that the page asked for. */
  readonly foreign: string[];
}

/** A page of a signed-in person. */
export async function signedIn(browser: Browser, fleet: Fleet, size: { width: number; height: number } = { width: 1280, height: 800 }): Promise<Viewer> {
  const context = await browser.newContext({ viewport: size, permissions: ['clipboard-read', 'clipboard-write'] });
  const answer = await context.request.post(`${fleet.pages}/api/v1/session`, { data: { token: fleet.token } });
  if (!answer.ok()) throw new Error(`signing in: ${answer.status()} ${await answer.text()}`);
  await context.addInitScript(() => {
    // The page asks who is signed in only if somebody may be.
    if (location.protocol === 'http:') localStorage.setItem('fleetfoot.signed-in', '1');
  });
  const page = await context.newPage();
  const errors: string[] = [];
  const foreign: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') errors.push(message.text());
  });
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('dialog', (dialog) => {
    errors.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(fleet.pages) && !/^(data|blob):/.test(request.url())) foreign.push(request.url());
  });
  return { page, errors, foreign };
}

/** A picture of the page as it is at the end of a test, into the folder `FLEETFOOT_PICTURES`, if that is set. */
export async function pictured(viewer: Viewer, name: string): Promise<void> {
  const folder = process.env['FLEETFOOT_PICTURES'];
  if (folder !== undefined) await viewer.page.screenshot({ path: `${folder}/${name.replace(/\W+/g, '-').slice(0, 60)}.png` });
}

/** Ends a page that was in order: nothing complained but what is `expected`, and no other host was asked. */
export async function closed(viewer: Viewer, expected?: RegExp): Promise<void> {
  await viewer.page.context().close();
  // Machines whose interfaces come and go interrupt requests; the page tries again.
  const errors = viewer.errors.filter((error) => !error.includes('ERR_NETWORK_CHANGED') && expected?.test(error) !== true);
  expect(errors).toEqual([]);
  expect(viewer.foreign).toEqual([]);
}

/** Opens the log of a job, and waits for its first lines. */
export async function openLog(viewer: Viewer, fleet: Fleet, job: number, hash = ''): Promise<void> {
  const { page } = viewer;
  for (let tries = 0; ; tries += 1) {
    let interrupted = false;
    const note = (request: Request): void => {
      interrupted ||= request.failure()?.errorText.includes('ERR_NETWORK_CHANGED') === true;
    };
    page.on('requestfailed', note);
    // Another address first: a page that only changes its hash is not loaded anew.
    if (tries > 0) await page.goto('about:blank');
    const opened = page
      .goto(`${fleet.pages}/ui/jobs/${job}/log${hash}`)
      .then(() => page.locator('.log-row:not(.log-wait) .log-text').first().waitFor({ timeout: 15_000 }));
    const failed = await opened.then(() => undefined, (error: unknown) => error);
    page.off('requestfailed', note);
    // An interface of the machine that comes or goes may take a file of the page with it.
    if (interrupted && tries < 5) continue;
    if (failed !== undefined) throw failed;
    return;
  }
}

/** A line on screen: its number, counted from 1, and its text. */
export interface Shown {
  readonly n: number;
  readonly text: string;
}

/** The lines that are visible, from top to bottom. */
export function visible(page: Page): Promise<Shown[]> {
  return page.evaluate(() => {
    const frame = document.querySelector('.log-scroll')?.getBoundingClientRect();
    if (frame === undefined) return [];
    return [...document.querySelectorAll<HTMLElement>('.log-window > [data-line]')].flatMap((row) => {
      const box = row.getBoundingClientRect();
      if (box.bottom <= frame.top + 1 || box.top >= frame.bottom - 1) return [];
      return [{ n: Number(row.dataset['line']) + 1, text: row.querySelector('.log-text')?.textContent ?? '' }];
    });
  });
}

/** Waits until a line is visible, and its text is there. */
export function sees(page: Page, text: string | RegExp, patience?: number): Promise<Shown> {
  return until(`a visible line with ${String(text)}`, async () => {
    const lines = await visible(page);
    return lines.find((line) => (typeof text === 'string' ? line.text.includes(text) : text.test(line.text)));
  }, patience);
}

/** Waits until line `n` is visible. */
export function seesLine(page: Page, n: number): Promise<Shown> {
  return until(`line ${n} on screen`, async () => (await visible(page)).find((line) => line.n === n && line.text !== ''));
}
