/** Signing in through an OpenID provider, the whole way there and back, and what a page says when it fails. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { axe, launch, open, Server } from './harness.ts';
import { Provider } from './provider.ts';

let browser: Browser;
let server: Server;
let provider: Provider;
let folder: string;
beforeAll(async () => {
  provider = await Provider.up({ sub: '248289761001', preferred_username: 'grace', name: 'Grace Hopper', email: 'grace@example.org', email_verified: true, groups: ['dev'] });
  folder = await mkdtemp(join(tmpdir(), 'fleetfoot-sign-in-'));
  const settings = join(folder, 'sign-in.toml');
  await writeFile(settings, `[[provider]]\nid = "corp"\nname = "Corp"\nissuer = "${provider.issuer}"\nclient_id = "${provider.client}"\n\n[provider.roles]\nmember = ["dev"]\n`);
  [browser, server] = await Promise.all([launch(), Server.up('--sign-in', settings)]);
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
  provider?.down();
  await rm(folder, { recursive: true, force: true });
});

// The redirect back brings the files of the program, not those of dist.
const DIST = process.env['FLEETFOOT_UI'] === 'dist';

test.skipIf(DIST)('an account at a provider leads in, and to where one wanted to be', async () => {
  const { page, context, complaints } = await open(browser, server);
  await page.goto('/ui/runs?branch=main');
  await page.getByRole('link', { name: 'Sign in with Corp' }).waitFor();
  expect(await axe(page)).toEqual([]);
  await page.getByRole('link', { name: 'Sign in with Corp' }).click();
  await page.getByRole('link', { name: 'yes' }).click();
  await page.getByRole('button', { name: 'Menu of Grace Hopper' }).waitFor();
  expect(new URL(page.url()).pathname + new URL(page.url()).search).toBe('/ui/runs?branch=main');
  const session = await page.evaluate(async () => (await (await fetch('/api/v1/session')).json()) as { role: string; method: string });
  expect(session).toMatchObject({ role: 'member', method: 'oidc' });
  expect(complaints.filter((each) => !each.includes(provider.issuer))).toEqual([]);
  await context.close();
});

test.skipIf(DIST)('a refusal is said in words, with what to do, and the way back is kept', async () => {
  const { page, context, complaints } = await open(browser, server);
  await page.goto('/ui/sign-in');
  await page.getByRole('link', { name: 'Sign in with Corp' }).click();
  await page.getByRole('link', { name: 'no' }).click();
  await page.getByRole('alert').getByText('The provider did not confirm the sign-in.').waitFor();
  expect(await axe(page)).toEqual([]);

  provider.claims = { ...provider.claims, sub: 'another', preferred_username: 'mallory', groups: ['visitors'] };
  await page.getByRole('link', { name: 'Sign in with Corp' }).click();
  await page.getByRole('link', { name: 'yes' }).click();
  await page.getByRole('alert').getByText('This account may not sign in here.').waitFor();
  // A word that is none of ours is no message.
  await page.goto('/ui/sign-in?error=%3Cb%3Eowned');
  await page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  expect(await page.getByRole('alert').count()).toBe(0);
  expect(complaints.filter((each) => !each.includes(provider.issuer))).toEqual([]);
  await context.close();
});
