/** What the page does when the server is gone. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { axe, launch, open, Server, signIn, until } from './harness.ts';
import { HELLO, LONELY } from './documents.ts';

let browser: Browser;
let server: Server;
beforeAll(async () => {
  [browser, server] = await Promise.all([launch(), Server.up()]);
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
});

test('a page without its server says since when, and is live again by itself', async () => {
  const waiting = await server.submit(LONELY);
  const list = await open(browser, server);
  await signIn(list, server);
  await list.page.getByRole('row').filter({ hasText: 'Lonely #1' }).waitFor();
  const run = await list.context.newPage();
  await run.goto(`/ui/runs/${waiting}`);
  await run.getByRole('heading', { name: 'Lonely #1' }).waitFor();

  await server.kill();
  for (const page of [list.page, run]) {
    await page.getByText(/Not connected: showing what was known at \d\d:\d\d/).waitFor();
    expect(await axe(page)).toEqual([]);
  }
  // What was known is still there to be read.
  await list.page.getByRole('row').filter({ hasText: 'Lonely #1' }).waitFor();

  await server.restart();
  for (const page of [list.page, run]) await until(async () => (await page.getByText(/Not connected/).count()) === 0, 'the page to be live again', 45_000);
  const hello = await server.submit(HELLO);
  await list.page.getByRole('row').filter({ hasText: 'Hello #1' }).getByRole('img', { name: 'Succeeded', exact: true }).waitFor();
  expect(await server.ended(hello)).toBe('success');
  await server.post(`/api/v1/runs/${waiting}/cancel`, {});
  await until(async () => (await run.title()).startsWith('Cancelled'), 'the run page to follow again');
  await list.context.close();
});

test('an action that fails says what to do', async () => {
  const waiting = await server.submit(LONELY);
  const watched = await open(browser, server);
  await signIn(watched, server, `/ui/runs/${waiting}`);
  await watched.page.getByRole('button', { name: 'Cancel run' }).click();
  await server.kill();
  await watched.page.getByRole('dialog').getByRole('button', { name: 'Cancel run' }).click();
  await watched.page.getByRole('alert').filter({ hasText: 'Cancelling failed. The server does not answer.' }).waitFor();
  await server.restart();
  await watched.context.close();
});
