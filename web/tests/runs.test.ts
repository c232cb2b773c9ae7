/** The list of runs. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { axe, launch, open, Server, signIn, until, type Watched } from './harness.ts';
import { HELLO, LONELY, LONG } from './documents.ts';

const MANY = 450;
let browser: Browser;
let server: Server;
let watched: Watched;
beforeAll(async () => {
  [browser, server] = await Promise.all([launch(), Server.up()]);
  watched = await open(browser, server);
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
});

test('an empty list teaches the next command', async () => {
  const { page } = watched;
  await signIn(watched, server);
  await page.getByText('Nothing has run yet').waitFor();
  await page.getByText('fleetfoot submit').waitFor();
  expect(await axe(page)).toEqual([]);
});

test('runs appear and end without a reload, and title and icon tell', async () => {
  const { page } = watched;
  const run = await server.submit(LONG, { project: 'web', repository: { url: 'https://example.org/a/b', ref: 'refs/heads/main', sha: 'a'.repeat(40) } });
  const row = page.getByRole('row').filter({ hasText: 'Long #1' });
  await row.getByRole('img', { name: 'Running', exact: true }).waitFor();
  await row.getByText('Commit aaaaaaaaaa').waitFor();
  await until(async () => (await page.title()) === '1 running · Runs · Fleetfoot', 'the title');
  expect(await page.locator('link[rel=icon]').getAttribute('href')).toMatch(/running/);
  await server.post(`/api/v1/runs/${run}/cancel`, {});
  await row.getByRole('img', { name: 'Cancelled', exact: true }).waitFor();
  await until(async () => (await page.title()) === 'Runs · Fleetfoot', 'the title');
  const hello = await server.submit(HELLO);
  await page.getByRole('row').filter({ hasText: 'Hello #1' }).getByRole('img', { name: 'Succeeded', exact: true }).waitFor();
  await server.ended(hello);
});

test('filters are in the address, and the address is the filter', async () => {
  const { page } = watched;
  await page.getByRole('button', { name: 'Filter' }).click();
  await page.getByRole('option', { name: 'Conclusion' }).click();
  await page.getByRole('combobox', { name: 'Conclusion of the runs' }).fill('canc');
  await page.keyboard.press('Enter');
  await until(() => new URL(page.url()).search === '?conclusion=cancelled', 'the filter in the address');
  await until(async () => (await page.getByRole('row').count()) === 1, 'one row');
  await page.getByRole('button', { name: 'Filter', exact: true }).click();
  await page.getByRole('option', { name: 'Project' }).click();
  await page.getByRole('option', { name: 'web' }).click();
  await until(() => new URL(page.url()).search === '?conclusion=cancelled&project=web', 'both filters in the address');
  expect(await axe(page)).toEqual([]);

  await page.goto('/ui/runs?project=default');
  await page.getByRole('row').filter({ hasText: 'Hello #1' }).waitFor();
  expect(await page.getByRole('row').count()).toBe(1);
  await page.getByRole('button', { name: 'Remove filter project: default' }).click();
  await until(async () => (await page.getByRole('row').count()) === 2, 'both rows');

  await page.keyboard.press('/');
  await page.keyboard.type('hello');
  await until(() => new URL(page.url()).search === '?text=hello', 'the text in the address');
  await until(async () => (await page.getByRole('row').count()) === 1, 'one row');
  await page.getByRole('searchbox').fill('nothing like this');
  await page.getByText('No run fits these filters').waitFor();
  await page.getByRole('button', { name: 'Clear filters' }).click();
  await until(async () => (await page.getByRole('row').count()) === 2, 'both rows');
});

test('every filter of the address finds what it should, and nothing else', async () => {
  const { page } = watched;
  for (const [filter, expected] of [
    ['status=completed', 2], ['status=running', 0], ['conclusion=success', 1], ['kind=workflow', 2], ['kind=job', 0], ['project=web', 1], ['workflow=Long', 1],
    ['branch=main', 1], ['branch=other', 0], ['actor=token%3A1', 2], ['label=ubuntu-latest', 2], ['label=gpu', 0], ['runner=local', 2], ['runner=other', 0],
    ['event=workflow_dispatch', 2], ['text=LONG', 1], ['text=%231', 2], ['workflow=Long&branch=main&label=ubuntu-latest&runner=local', 1],
  ] as const) {
    await page.goto(`/ui/runs?${filter}`);
    if (expected === 0) await page.getByText('No run fits these filters').waitFor();
    else await page.getByRole('row').first().waitFor();
    await until(async () => (await page.getByRole('row').count()) === expected, `${expected} rows for ${filter}`);
  }
  await page.goto('/ui/runs');
  await page.getByRole('row').first().waitFor();
});

test('the keyboard goes through the list, opens a run, and comes back', async () => {
  const { page } = watched;
  const focused = (): Promise<string> => page.evaluate(() => document.activeElement?.textContent ?? '');
  await page.locator('h1').click();
  await page.keyboard.press('j');
  await until(async () => (await focused()) === 'Hello', 'the first row');
  await page.keyboard.press('j');
  await until(async () => (await focused()) === 'Long', 'the second row');
  await page.keyboard.press('k');
  await until(async () => (await focused()) === 'Hello', 'the first row');
  await page.keyboard.press('Enter');
  await until(() => /\/ui\/runs\/\d+$/.test(page.url()), 'the run');
  await page.getByRole('heading', { name: /Hello/ }).first().waitFor();
  await page.keyboard.press('g');
  await page.keyboard.press('r');
  await page.getByRole('heading', { name: 'Runs' }).waitFor();
});

test('help and the command palette open by key, and lead somewhere', async () => {
  const { page } = watched;
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keys' }).waitFor();
  expect(await axe(page)).toEqual([]);
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+k');
  await page.getByRole('dialog', { name: 'Search and commands' }).waitFor();
  expect(await axe(page)).toEqual([]);
  await page.keyboard.type('theme dark');
  await page.keyboard.press('Enter');
  await until(() => page.evaluate(() => document.documentElement.dataset['theme'] === 'dark'), 'the dark theme');
  await page.reload();
  await page.getByRole('row').first().waitFor();
  expect(await page.evaluate(() => document.documentElement.dataset['theme'])).toBe('dark');
  expect(await axe(page)).toEqual([]);
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox').fill('long');
  await page.getByRole('option', { name: /Long #1/ }).click();
  await page.getByRole('heading', { name: /Long/ }).first().waitFor();
});

test('a long list is drawn only where it is seen, and goes on to its end', async () => {
  const { page } = watched;
  const one = { kind: 'workflow', document: LONELY, path: 'ci.yml' };
  for (let sent = 0; sent < MANY; sent += 150) await server.post('/api/v1/runs/batch', { runs: Array.from({ length: 150 }, () => one) });
  await page.goto('/ui/runs');
  await page.getByRole('row').first().waitFor();
  await until(
    async () => {
      await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
      expect(await page.getByRole('row').count()).toBeLessThan(60);
      return page.getByRole('row').filter({ hasText: 'Long #1' }).isVisible();
    },
    'the end of the list',
  );
  expect(await page.getByRole('table', { name: 'Runs' }).getAttribute('aria-rowcount')).toBe(String(MANY + 2));
});

test('it can be used on a phone', async () => {
  const phone = await open(browser, server, { width: 380, height: 700, theme: 'dark' });
  await signIn(phone, server);
  await phone.page.getByRole('row').first().waitFor();
  expect(await phone.page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(380);
  expect(await axe(phone.page)).toEqual([]);
  expect(phone.complaints).toEqual([]);
  await phone.context.close();
});

test('nothing of all this was worth a complaint in the console', () => {
  expect(watched.complaints).toEqual([]);
});
