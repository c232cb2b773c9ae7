/** Signing in and out, and what a role sees. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { FAILED_REQUEST, launch, open, Server, signIn, until } from './harness.ts';
import { HELLO, LONG } from './documents.ts';

let browser: Browser;
let server: Server;
beforeAll(async () => {
  [browser, server] = await Promise.all([launch(), Server.up()]);
  await server.post('/api/v1/users', { name: 'ada', display_name: 'Ada Lovelace', role: 'member', password: 'correct horse' });
  await server.post('/api/v1/users', { name: 'otto', role: 'read_only', password: 'battery staple' });
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
});

async function withPassword(page: import('playwright-core').Page, name: string, password: string): Promise<void> {
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}

test('a page asks for a sign-in, says what is wrong with it, and goes on where it was', async () => {
  const { page, context, complaints } = await open(browser, server);
  await page.goto('/ui/runs?branch=main');
  await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  await withPassword(page, 'ada', 'wrong password');
  await page.getByRole('alert').waitFor();
  // The browser reports the refused request; nothing else may be wrong.
  expect(complaints.splice(0).filter((each) => !FAILED_REQUEST.test(each))).toEqual([]);
  await withPassword(page, 'ada', 'correct horse');
  await page.getByRole('heading', { name: 'Runs' }).waitFor();
  expect(new URL(page.url()).pathname + new URL(page.url()).search).toBe('/ui/runs?branch=main');
  const cookies = await context.cookies();
  expect(cookies.every((cookie) => cookie.httpOnly && cookie.sameSite === 'Lax')).toBe(true);
  expect(cookies.length).toBeGreaterThan(0);

  await page.reload();
  await page.getByRole('button', { name: 'Menu of Ada Lovelace' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  await page.goto('/ui/runs');
  await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  expect(complaints).toEqual([]);
  await context.close();
});

test('somebody changes the own password, and signs in with it', async () => {
  await server.post('/api/v1/users', { name: 'grace', role: 'read_only', password: 'first password' });
  const { page, context, complaints } = await open(browser, server);
  await page.goto('/ui/runs');
  await withPassword(page, 'grace', 'first password');
  const change = async (current: string): Promise<void> => {
    const dialog = page.getByRole('dialog', { name: 'Change your password' });
    await dialog.getByLabel('Current password').fill(current);
    await dialog.getByLabel('New password').fill('second password');
    await dialog.getByRole('button', { name: 'Change it' }).click();
  };
  await page.getByRole('button', { name: 'Menu of grace' }).click();
  await page.getByRole('menuitem', { name: 'Change password…' }).click();
  await change('not the first password');
  await page.getByRole('dialog').getByRole('alert').waitFor();
  expect(complaints.splice(0).filter((each) => !FAILED_REQUEST.test(each))).toEqual([]);
  await change('first password');
  await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  await withPassword(page, 'grace', 'second password');
  await page.getByRole('heading', { name: 'Runs' }).waitFor();
  expect(complaints).toEqual([]);
  await context.close();
});

test('an ended session leads to the sign-in and back', async () => {
  const run = await server.submit(HELLO);
  await server.ended(run);
  const watched = await open(browser, server);
  const { page, context } = watched;
  await page.goto(`/ui/runs/${run}`);
  await withPassword(page, 'ada', 'correct horse');
  await page.getByRole('heading', { name: /Hello/ }).first().waitFor();
  const { items } = await server.get<{ items: { id: number; name: string }[] }>('/api/v1/users');
  const ada = items.find((user) => user.name === 'ada')?.id;
  await server.ask('PATCH', `/api/v1/users/${ada}`, { disabled: true });
  await server.ask('PATCH', `/api/v1/users/${ada}`, { disabled: false });
  await page.getByRole('button', { name: 'Run again' }).click();
  await page.getByRole('menuitem', { name: 'All jobs', exact: true }).click();
  await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  await withPassword(page, 'ada', 'correct horse');
  await until(() => new URL(page.url()).pathname === `/ui/runs/${run}`, 'the page from before');
  await page.getByRole('heading', { name: /Hello/ }).first().waitFor();
  await context.close();
});

test('who may only look is offered nothing else', async () => {
  const run = await server.submit(LONG);
  const { page, context, complaints } = await open(browser, server);
  await page.goto(`/ui/runs/${run}`);
  await withPassword(page, 'otto', 'battery staple');
  await page.getByRole('heading', { name: /Long/ }).first().waitFor();
  expect(await page.getByRole('button', { name: 'Cancel run' }).count()).toBe(0);
  await page.goto('/ui/runs');
  await page.getByRole('link', { name: 'Long' }).waitFor();
  expect(await page.getByRole('button', { name: 'New run' }).count()).toBe(0);
  expect(complaints).toEqual([]);
  await server.post(`/api/v1/runs/${run}/cancel`, {});
  await server.ended(run);
  await context.close();
});

test('a link cannot send anybody elsewhere after the sign-in', async () => {
  const watched = await open(browser, server);
  await signIn(watched, server, '/ui/sign-in?back=https%3A%2F%2Fevil.example%2F');
  expect(watched.page.url()).toBe(`${server.url}/ui/runs`);
  await watched.context.close();
  const again = await open(browser, server);
  await signIn(again, server, '/ui/sign-in?back=%2F%5Cevil.example');
  expect(again.page.url()).toBe(`${server.url}/ui/runs`);
  await again.context.close();
});
