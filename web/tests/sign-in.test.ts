/** Signing in and out, and what a role sees. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser, Page } from 'playwright-core';
import { FAILED_REQUEST, launch, open, Server, signIn, until, type Watched } from './harness.ts';
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
  await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  await withPassword(page, 'ada', 'correct horse');
  await until(() => new URL(page.url()).pathname === `/ui/runs/${run}`, 'the page from before');
  await page.getByRole('heading', { name: /Hello/ }).first().waitFor();
  await context.close();
});

/** Pages that only look on: nothing but their streams can tell them that the session is over. */
async function lookingOn(run: number): Promise<{ list: Watched; pages: Page[] }> {
  const list = await open(browser, server);
  const { page, context } = list;
  await page.goto('/ui/runs');
  await withPassword(page, 'ada', 'correct horse');
  await page.getByRole('row').filter({ hasText: 'Long' }).first().waitFor();
  const { jobs } = await server.get<{ jobs: { id: number }[] }>(`/api/v1/runs/${run}`);
  const pages = [page, await context.newPage(), await context.newPage()];
  await pages[1]?.goto(`/ui/runs/${run}`);
  await pages[1]?.getByRole('heading', { name: /Long/ }).first().waitFor();
  await pages[2]?.goto(`/ui/jobs/${jobs[0]?.id}/log`);
  await until(async () => (await pages[2]?.locator('.log-live').textContent()) === 'Live', 'the log to be live');
  return { list, pages };
}

async function sentToSignIn(pages: readonly Page[]): Promise<void> {
  for (const page of pages) await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor({ timeout: 10_000 });
}

test('pages that only look on notice that their session has ended, and come back to where they were', async () => {
  const run = await server.submit(LONG);
  const { items } = await server.get<{ items: { id: number; name: string }[] }>('/api/v1/users');
  const ada = items.find((user) => user.name === 'ada')?.id;
  const { list, pages } = await lookingOn(run);
  const paths = pages.map((page) => new URL(page.url()).pathname);
  await server.ask('PATCH', `/api/v1/users/${ada}`, { disabled: true });
  await sentToSignIn(pages);
  await server.ask('PATCH', `/api/v1/users/${ada}`, { disabled: false });
  for (const [n, page] of pages.entries()) {
    await withPassword(page, 'ada', 'correct horse');
    await until(() => new URL(page.url()).pathname === paths[n], 'the page from before');
  }
  expect(list.complaints).toEqual([]);
  await list.context.close();

  // Signing out in one tab is signing out in all of them.
  const again = await lookingOn(run);
  const [first] = again.pages;
  await first?.getByRole('button', { name: 'Menu of Ada Lovelace' }).click();
  await first?.getByRole('menuitem', { name: 'Sign out' }).click();
  await sentToSignIn(again.pages);
  expect(again.list.complaints).toEqual([]);
  await again.list.context.close();
  await server.post(`/api/v1/runs/${run}/cancel`, {});
  await server.ended(run);
});

test('a page that looks on with a token notices that the token was revoked', async () => {
  const { token, id } = await server.post<{ token: string; id: number }>('/api/v1/tokens', { kind: 'read_only', name: 'board' });
  const { page, context, complaints } = await open(browser, server);
  await page.goto('/ui/runs');
  await page.getByRole('button', { name: 'Use an API token instead' }).click();
  await page.getByLabel('API token').fill(token);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('row').first().waitFor();
  await server.ask('DELETE', `/api/v1/tokens/${id}`);
  await sentToSignIn([page]);
  expect(new URL(page.url()).searchParams.get('back')).toBe('/ui/runs');
  expect(complaints).toEqual([]);
  await context.close();
});

test('a page that looks on with a token notices that the token has expired', async () => {
  const { token } = await server.post<{ token: string }>('/api/v1/tokens', { kind: 'read_only', name: 'short', expires_in_seconds: 15 });
  const { page, context, complaints } = await open(browser, server);
  await page.goto('/ui/runs');
  await page.getByRole('button', { name: 'Use an API token instead' }).click();
  await page.getByLabel('API token').fill(token);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('row').first().waitFor();
  await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor({ timeout: 30_000 });
  expect(complaints).toEqual([]);
  await context.close();
});

test('another role shows on the page that is open', async () => {
  const run = await server.submit(LONG);
  const { items } = await server.get<{ items: { id: number; name: string }[] }>('/api/v1/users');
  const ada = items.find((user) => user.name === 'ada')?.id;
  const { page, context, complaints } = await open(browser, server);
  await page.goto(`/ui/runs/${run}`);
  await withPassword(page, 'ada', 'correct horse');
  const button = page.getByRole('button', { name: 'Cancel run' });
  await button.waitFor();
  await server.ask('PATCH', `/api/v1/users/${ada}`, { role: 'read_only' });
  await button.waitFor({ state: 'detached' });
  await server.ask('PATCH', `/api/v1/users/${ada}`, { role: 'member' });
  await button.waitFor();
  expect(complaints).toEqual([]);
  await context.close();
  await server.post(`/api/v1/runs/${run}/cancel`, {});
  await server.ended(run);
});

test('two servers on one host leave each other’s people signed in', async () => {
  const other = await Server.up();
  try {
    const here = await open(browser, server);
    await signIn(here, server);
    const there = await here.context.newPage();
    await signIn({ ...here, page: there }, other, `${other.url}/ui/runs`);
    const names = (await here.context.cookies()).map((cookie) => cookie.name);
    expect(new Set(names).size).toBe(2);
    await here.page.reload();
    await here.page.getByRole('navigation', { name: 'Main' }).waitFor();
    await here.page.getByRole('button', { name: /^Menu of/ }).click();
    await here.page.getByRole('menuitem', { name: 'Sign out' }).click();
    await here.page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
    await there.reload();
    await there.getByRole('navigation', { name: 'Main' }).waitFor();
    await here.context.close();
  } finally {
    await other.down();
  }
});

test('pages of other origins can neither act with the cookie nor read with it', async () => {
  const run = await server.submit(LONG);
  const watched = await open(browser, server);
  await signIn(watched, server);
  // The same host with another port is the same site: the browser sends the cookie along.
  const foreign = createServer((_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>elsewhere</title>'));
  await new Promise<void>((resolve) => foreign.listen(0, '127.0.0.1', resolve));
  const page = await watched.context.newPage();
  await page.goto(`http://127.0.0.1:${(foreign.address() as AddressInfo).port}/`);
  const read = await page.evaluate(
    async ([url, id]) => {
      const ask = (path: string, init: RequestInit): Promise<string> =>
        fetch(url + path, { credentials: 'include', ...init }).then((answer) => `${answer.type} ${answer.status}`, () => 'refused by the browser');
      const form = { method: 'POST', body: '{}', headers: { 'content-type': 'text/plain' } };
      return [
        await ask('/api/v1/runs', {}),
        await ask('/api/v1/session', {}),
        await ask(`/api/v1/runs/${id}/cancel`, form),
        await ask(`/api/v1/runs/${id}/cancel`, { ...form, mode: 'no-cors' }),
        await ask('/api/v1/session', { method: 'DELETE', mode: 'no-cors' }),
      ];
    },
    [server.url, run] as const,
  );
  expect(new Set(read)).toEqual(new Set(['refused by the browser']));
  // What a form sends leads to a refusal, and not to a cancelled run.
  await page.evaluate(
    ([url, id]) => {
      const form = Object.assign(document.createElement('form'), { method: 'POST', action: `${url}/api/v1/runs/${id}/cancel` });
      document.body.append(form);
      // The evaluation ends before the page goes.
      setTimeout(() => form.submit());
    },
    [server.url, run] as const,
  );
  await page.getByText(/"status":\s*403/).waitFor();
  expect(await server.get(`/api/v1/runs/${run}`)).not.toHaveProperty('cancel_requested', true);
  await watched.page.reload();
  await watched.page.getByRole('navigation', { name: 'Main' }).waitFor();
  foreign.closeAllConnections();
  foreign.close();
  await watched.context.close();
  await server.post(`/api/v1/runs/${run}/cancel`, {});
  await server.ended(run);
});

test('who may only look is offered nothing else', async () => {
  const run = await server.submit(LONG);
  const { page, context, complaints } = await open(browser, server);
  await page.goto(`/ui/runs/${run}`);
  await withPassword(page, 'otto', 'battery staple');
  await page.getByRole('heading', { name: /Long/ }).first().waitFor();
  expect(await page.getByRole('button', { name: 'Cancel run' }).count()).toBe(0);
  await page.goto('/ui/runs');
  await page.getByRole('link', { name: 'Long' }).first().waitFor();
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
