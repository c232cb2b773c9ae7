/** What holds on every page: theme, motion, focus, headings, and that no other host is asked. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { launch, open, Server, signIn, until } from './harness.ts';
import { LONG } from './documents.ts';

const PAGES = ['/ui/runs', '/ui/runners', '/ui/admin/tokens', '/ui/admin/projects', '/ui/admin/health'];

let browser: Browser;
let server: Server;
let run: number;
beforeAll(async () => {
  [browser, server] = await Promise.all([launch(), Server.up()]);
  run = await server.submit(LONG);
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
});

test('the theme of the system is followed while nobody chose another', async () => {
  const watched = await open(browser, server, { theme: 'light' });
  await signIn(watched, server);
  const { page } = watched;
  const ground = (): Promise<string> => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground();
  await page.emulateMedia({ colorScheme: 'dark' });
  await until(async () => (await ground()) !== light, 'the dark ground');
  await page.getByRole('button', { name: /^Menu of/ }).click();
  await page.getByRole('menuitemradio', { name: 'Light' }).click();
  await until(async () => (await ground()) === light, 'the light ground');
  await page.reload();
  await page.getByRole('heading', { level: 1 }).waitFor();
  expect(await ground()).toBe(light);
  expect(watched.complaints).toEqual([]);
  await watched.context.close();
});

test('nothing moves for whoever wants no motion', async () => {
  const watched = await open(browser, server);
  await signIn(watched, server, `/ui/runs/${run}`);
  const { page } = watched;
  const turning = page.getByRole('group', { name: 'Graph of the jobs' }).locator('.spin').first();
  await turning.waitFor();
  const seconds = (): Promise<number> => turning.evaluate((node) => Number.parseFloat(getComputedStyle(node).animationDuration));
  expect(await seconds()).toBeLessThan(0.001);
  await page.emulateMedia({ reducedMotion: 'no-preference' });
  expect(await seconds()).toBeGreaterThan(0.1);
  expect(watched.complaints).toEqual([]);
  await watched.context.close();
});

test('the keyboard reaches everything, and what it reached is ringed', async () => {
  const watched = await open(browser, server);
  await signIn(watched, server);
  const { page } = watched;
  for (const path of PAGES) {
    await page.goto(path);
    await page.getByRole('heading', { level: 1 }).waitFor();
    await page.keyboard.press('Tab');
    expect(await page.evaluate(() => document.activeElement?.textContent), path).toBe('Skip to content');
    const reached = new Set<string>();
    for (let presses = 0; presses < 12; presses += 1) {
      const { name, ring } = await page.evaluate(() => {
        const node = document.activeElement as HTMLElement;
        // A ring may be drawn around the box that holds the field.
        const rings = [node, node.parentElement].map((each) => (each ? getComputedStyle(each) : null));
        const after = getComputedStyle(node, '::after');
        const drawn = [...rings, after].some((style) => style !== null && style.outlineStyle !== 'none' && Number.parseFloat(style.outlineWidth) >= 1);
        return { name: `${node.tagName} ${node.getAttribute('aria-label') ?? node.textContent ?? ''}`, ring: drawn };
      });
      if (!name.startsWith('BODY')) expect(ring, `${path}: ${name}`).toBe(true);
      reached.add(name);
      await page.keyboard.press('Tab');
    }
    expect(reached.size, path).toBeGreaterThan(6);
    expect(await page.getByRole('heading', { level: 1 }).count(), path).toBe(1);
    expect(await page.locator('html').getAttribute('lang'), path).toBe('en');
  }
  // Requests to other hosts count as complaints.
  expect(watched.complaints).toEqual([]);
  await watched.context.close();
});
