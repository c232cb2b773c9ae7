/** Administration: every page, and everything that can be done there, as an admin and as somebody who is none. */
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type Server as Http } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { axe, FAILED_REQUEST, launch, open, Server, signIn, until, type Watched } from './harness.ts';
import { ARTIFACT, caches, HELLO } from './documents.ts';

const MATTERS = ['tokens', 'users', 'projects', 'values', 'environments', 'repositories', 'storage', 'audit', 'health'] as const;

let browser: Browser;
let server: Server;
let watched: Watched;
beforeAll(async () => {
  [browser, server] = await Promise.all([launch(), Server.up()]);
  watched = await open(browser, server);
  await signIn(watched, server);
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
});

/** Goes to a matter and waits for its heading. */
async function matter(name: (typeof MATTERS)[number], heading: string): Promise<Page> {
  const { page } = watched;
  await page.goto(`/ui/admin/${name}`);
  await page.getByRole('heading', { level: 1, name: heading }).waitFor();
  return page;
}

/** The question before something is removed is answered with yes. */
async function confirm(page: Page, verb: string): Promise<void> {
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: verb, exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
}

test('empty matters teach the next command', async () => {
  for (const [name, heading, title] of [
    ['users', 'Users', 'No users yet'],
    ['values', 'Secrets and variables', 'No secrets here'],
    ['environments', 'Environments', 'No environments'],
    ['repositories', 'Repositories', 'No repositories'],
    ['storage', 'Storage', 'No artifacts'],
  ] as const) {
    const page = await matter(name, heading);
    await page.getByRole('heading', { name: title }).waitFor();
    expect(await axe(page)).toEqual([]);
  }
});

test('a token is made, shown once, lets in, and is revoked', async () => {
  const page = await matter('tokens', 'Tokens');
  await page.getByRole('button', { name: 'Create a token' }).click();
  const dialog = page.getByRole('dialog', { name: 'Create a token' });
  expect(await axe(page)).toEqual([]);
  await dialog.getByLabel('Name').fill('board');
  await dialog.getByLabel('Kind').selectOption('read_only');
  await dialog.getByLabel('Good for').selectOption('30');
  await dialog.getByRole('button', { name: 'Create' }).click();
  const shown = page.getByRole('dialog', { name: 'The new token' });
  const token = (await shown.locator('code').textContent())?.trim() ?? '';
  expect(token).toMatch(/^ffo_/);
  expect(await axe(page)).toEqual([]);
  await page.keyboard.press('Escape');
  const row = page.getByRole('row').filter({ hasText: 'board' });
  await row.getByText('read-only').waitFor();
  expect(await page.content()).not.toContain(token);

  const other = await open(browser, server);
  await other.page.goto('/ui/runs');
  await other.page.getByLabel('API token').fill(token);
  await other.page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await other.page.getByRole('heading', { name: 'Runs' }).waitFor();
  expect(other.complaints).toEqual([]);

  await row.getByRole('button', { name: 'Revoke token board' }).click();
  await confirm(page, 'Revoke');
  await row.waitFor({ state: 'detached' });
  await other.page.reload();
  await other.page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  await other.context.close();
});

test('users are made, changed, disabled and removed', async () => {
  // Where nobody has a password, nobody is asked for one.
  await server.post('/api/v1/users', { name: 'grace', display_name: 'Grace Hopper', role: 'member', password: 'correct horse' });
  const page = await matter('users', 'Users');
  const row = page.getByRole('row').filter({ hasText: 'ada' });
  const change = async (item: string): Promise<void> => {
    await row.getByRole('button', { name: 'Change ada' }).click();
    await page.getByRole('menuitem', { name: item }).click();
  };
  await page.getByRole('button', { name: 'Create a user' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name', { exact: true }).fill('ada');
  await dialog.getByLabel('Name for people').fill('Ada Lovelace');
  await dialog.getByLabel('Role').selectOption('member');
  await dialog.getByLabel('Password').fill('correct horse');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await row.getByText('member').waitFor();

  // The same name again is refused, in the dialog, which stays.
  await page.getByRole('button', { name: 'Create a user' }).click();
  await dialog.getByLabel('Name', { exact: true }).fill('ada');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await dialog.getByRole('alert').waitFor();
  expect(await axe(page)).toEqual([]);
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  expect(watched.complaints.splice(0).filter((each) => !FAILED_REQUEST.test(each))).toEqual([]);

  await change('Role…');
  await dialog.getByLabel('Role').selectOption('read_only');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await row.getByText('read-only').waitFor();
  await change('Password…');
  await dialog.getByLabel('New password').fill('battery staple');
  await dialog.getByRole('button', { name: 'Set the password' }).click();
  await dialog.waitFor({ state: 'detached' });

  // Whoever may only look is neither offered administration nor let in.
  const other = await open(browser, server);
  await other.page.goto('/ui/admin/tokens');
  const enter = async (): Promise<void> => {
    await other.page.getByLabel('Name').fill('ada');
    await other.page.getByLabel('Password').fill('battery staple');
    await other.page.getByRole('button', { name: 'Sign in', exact: true }).click();
  };
  await enter();
  await other.page.getByRole('heading', { name: 'Only admins see this' }).waitFor();
  expect(await other.page.getByRole('navigation', { name: 'Main' }).getByText('Administration').count()).toBe(0);
  const statuses = await other.page.evaluate(async () =>
    Promise.all(['tokens', 'users', 'audit', 'repos'].map(async (name) => (await fetch(`/api/v1/${name}`)).status)),
  );
  expect(statuses.slice(0, 3)).toEqual([403, 403, 403]);
  await other.page.goto('/ui/runners');
  await other.page.getByRole('link', { name: 'local' }).waitFor();
  expect(await other.page.getByRole('button', { name: /Add a runner|Actions/ }).count()).toBe(0);
  expect(await axe(other.page)).toEqual([]);
  expect(other.complaints.filter((each) => !FAILED_REQUEST.test(each))).toEqual([]);

  await change('Disable');
  await row.getByText('disabled').waitFor();
  await other.page.goto('/ui/runs');
  await other.page.getByRole('heading', { name: 'Sign in to Fleetfoot' }).waitFor();
  await enter();
  await other.page.getByRole('alert').waitFor();
  await change('Enable');
  await row.getByText('active').waitFor();
  await enter();
  await other.page.getByRole('heading', { name: 'Runs' }).waitFor();
  await other.context.close();

  expect(await axe(page)).toEqual([]);
  await row.getByRole('button', { name: 'Remove user ada' }).click();
  await confirm(page, 'Remove');
  await row.waitFor({ state: 'detached' });
});

test('secrets are written and never read; variables are; both of everything or of a scope', async () => {
  const page = await matter('values', 'Secrets and variables');
  const dialog = page.getByRole('dialog');
  const set = async (kind: string, name: string, value: string): Promise<void> => {
    await page.getByRole('button', { name: `Set a ${kind}` }).click();
    await dialog.getByLabel('Name').fill(name);
    await dialog.getByLabel('Value').fill(value);
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.waitFor({ state: 'detached' });
  };
  await set('secret', 'DEPLOY_KEY', 'very-hidden-value');
  await set('variable', 'REGION', 'eu-west');
  const region = page.getByRole('row').filter({ hasText: 'REGION' });
  await region.getByText('eu-west').waitFor();
  await region.getByRole('button', { name: 'Change REGION' }).click();
  expect(await dialog.getByLabel('Value').inputValue()).toBe('eu-west');
  await dialog.getByLabel('Value').fill('eu-north');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await region.getByText('eu-north').waitFor();
  const key = page.getByRole('row').filter({ hasText: 'DEPLOY_KEY' });
  await key.getByRole('button', { name: 'Change DEPLOY_KEY' }).click();
  expect(await dialog.getByLabel('Value').inputValue()).toBe('');
  expect(await axe(page)).toEqual([]);
  await page.keyboard.press('Escape');
  expect(await page.content()).not.toContain('very-hidden-value');

  await page.getByRole('textbox', { name: 'Project' }).fill('shop');
  await page.getByRole('button', { name: 'Show' }).click();
  await page.getByRole('heading', { name: 'Secrets of project shop' }).waitFor();
  await set('secret', 'SHOP_KEY', 'narrow');
  await page.getByRole('row').filter({ hasText: 'SHOP_KEY' }).getByText('shop', { exact: true }).waitFor();
  const { items } = await server.get<{ items: { name: string; project: string | null }[] }>('/api/v1/secrets?project=shop');
  expect(items.find((each) => each.name === 'SHOP_KEY')?.project).toBe('shop');
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'Remove secret SHOP_KEY' }).click();
  await confirm(page, 'Remove');
  await page.getByRole('row').filter({ hasText: 'SHOP_KEY' }).waitFor({ state: 'detached' });

  await page.getByRole('textbox', { name: 'Project' }).fill('');
  await page.getByRole('button', { name: 'Show' }).click();
  await page.getByRole('button', { name: 'Remove secret DEPLOY_KEY' }).click();
  await confirm(page, 'Remove');
  await page.getByRole('button', { name: 'Remove variable REGION' }).click();
  await confirm(page, 'Remove');
  await page.getByRole('heading', { name: 'No secrets here' }).waitFor();
  await page.getByRole('heading', { name: 'No variables here' }).waitFor();
});

test('the values of an environment are its own, and its address names it', async () => {
  await server.post('/api/v1/environments', { name: 'staging', project: 'shop', rules: {} });
  const page = await matter('values', 'Secrets and variables');
  await page.getByRole('textbox', { name: 'Project' }).fill('shop');
  await page.getByRole('textbox', { name: 'Environment' }).fill('staging');
  await page.getByRole('button', { name: 'Show' }).click();
  await page.getByRole('heading', { name: 'Secrets of environment staging of shop' }).waitFor();
  expect(new URL(page.url()).search).toBe('?project=shop&environment=staging');
  const dialog = page.getByRole('dialog');
  for (const [kind, name, value] of [['secret', 'STAGE_KEY', 'only-there'], ['variable', 'COLOR', 'blue']] as const) {
    await page.getByRole('button', { name: `Set a ${kind}` }).click();
    await dialog.getByLabel('Name').fill(name);
    await dialog.getByLabel('Value').fill(value);
    await dialog.getByRole('button', { name: 'Save' }).click();
    await dialog.waitFor({ state: 'detached' });
    await page.getByRole('row').filter({ hasText: name }).getByText('staging').waitFor();
  }
  await page.reload();
  const secret = page.getByRole('row').filter({ hasText: 'STAGE_KEY' });
  await secret.waitFor();
  expect(await page.content()).not.toContain('only-there');
  expect(await axe(page)).toEqual([]);
  const scoped = await server.get<{ items: { name: string; environment: string | null }[] }>('/api/v1/variables?project=shop&environment=staging');
  expect(scoped.items.find((each) => each.name === 'COLOR')?.environment).toBe('staging');
  const wide = await server.get<{ items: { name: string }[] }>('/api/v1/variables?project=shop');
  expect(wide.items.some((each) => each.name === 'COLOR')).toBe(false);
  await page.getByRole('button', { name: 'Remove secret STAGE_KEY' }).click();
  await confirm(page, 'Remove');
  await page.getByRole('button', { name: 'Remove variable COLOR' }).click();
  await confirm(page, 'Remove');
  await secret.waitFor({ state: 'detached' });
  await server.ask('DELETE', '/api/v1/environments/staging?project=shop');
});

test('projects show their latest run and lead to what belongs to them', async () => {
  const run = await server.submit(HELLO, { project: 'bakery' });
  expect(await server.ended(run)).toBe('success');
  const page = await matter('projects', 'Projects');
  const row = page.getByRole('row').filter({ hasText: 'bakery' });
  await row.getByRole('link', { name: /Succeeded Hello #1/ }).waitFor();
  expect(await axe(page)).toEqual([]);
  await row.getByRole('link', { name: 'Show secrets and variables of bakery' }).click();
  await page.getByRole('heading', { name: 'Secrets of project bakery' }).waitFor();
  await page.goBack();
  await row.getByRole('link', { name: 'bakery', exact: true }).click();
  await page.getByRole('heading', { name: 'Runs' }).waitFor();
  await page.getByRole('row').filter({ hasText: 'Hello #1' }).waitFor();
  expect(new URL(page.url()).search).toBe('?project=bakery');
});

test('an environment with rules is made, changed and removed', async () => {
  const page = await matter('environments', 'Environments');
  const dialog = page.getByRole('dialog');
  await page.getByRole('button', { name: 'Create an environment' }).click();
  await dialog.getByLabel('Name').fill('production');
  await dialog.getByLabel('Project').fill('shop');
  await dialog.getByLabel('Reviewers').fill('token:1');
  await dialog.getByLabel('Whoever caused the run may not approve its jobs').check();
  await dialog.getByLabel('Wait before the start, in minutes').fill('5');
  await dialog.getByLabel('Branches and tags').fill('main\nrelease/**');
  expect(await axe(page)).toEqual([]);
  await dialog.getByRole('button', { name: 'Save' }).click();
  const row = page.getByRole('row').filter({ hasText: 'production' });
  await row.getByText('main, release/**').waitFor();
  await row.getByText('5 min').waitFor();
  await row.getByRole('button', { name: 'Change production' }).click();
  expect(await dialog.getByLabel('Branches and tags').inputValue()).toBe('main\nrelease/**');
  expect(await dialog.getByRole('checkbox').isChecked()).toBe(true);
  await dialog.getByLabel('Wait before the start, in minutes').fill('0');
  await dialog.getByLabel('Branches and tags').fill('');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await row.getByText('all', { exact: true }).waitFor();
  const { items } = await server.get<{ items: { rules: unknown }[] }>('/api/v1/environments?project=shop');
  expect(items[0]?.rules).toMatchObject({ reviewers: ['token:1'], prevent_self_review: true });
  expect(await axe(page)).toEqual([]);
  await row.getByRole('button', { name: 'Remove environment production' }).click();
  await confirm(page, 'Remove');
  await page.getByRole('heading', { name: 'No environments' }).waitFor();
});

/** A forge with one repository, as far as adding it needs one: it names it, and lets git list its refs. */
async function forge(): Promise<{ http: Http; url: string }> {
  const answers: Record<string, string> = {
    '/api/v1/repos/acme/app': JSON.stringify({ id: 7, default_branch: 'main' }),
    '/acme/app.git/info/refs': `${'7c'.repeat(20)}\trefs/heads/main\n`,
    '/acme/app.git/HEAD': 'ref: refs/heads/main\n',
  };
  const http = createServer((request, response) => {
    const path = (request.url ?? '').replace(/\?.*/, '');
    const answer = request.method === 'GET' ? answers[path] : undefined;
    response.writeHead(answer === undefined ? 404 : 200, { 'content-type': path.startsWith('/api/') ? 'application/json' : 'text/plain', connection: 'close' });
    response.end(answer ?? '{"message":"not found"}');
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  return { http, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` };
}

test('a repository is added with its webhook, deliveries are shown, and a wrong one is explained', async () => {
  const page = await matter('repositories', 'Repositories');
  const dialog = page.getByRole('dialog');
  const { http, url } = await forge();
  await page.getByRole('button', { name: 'Add a repository' }).click();
  expect(await axe(page)).toEqual([]);
  await dialog.getByLabel('Address').fill(`${url}/acme/wrong.git`);
  await dialog.getByLabel('Forge', { exact: true }).selectOption('gitea');
  await dialog.getByLabel('Access token').fill('forge-token');
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  await dialog.getByRole('alert').waitFor();
  expect(await dialog.getByRole('alert').textContent()).toMatch(/404|not found|acme\/wrong/i);
  expect(watched.complaints.splice(0).filter((each) => !FAILED_REQUEST.test(each))).toEqual([]);
  await dialog.getByLabel('Address').fill(`${url}/acme/app.git`);
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();

  // This forge makes no webhooks, so a person is told what to enter there.
  const added = page.getByRole('dialog', { name: 'acme/app was added' });
  const address = (await added.getByLabel('Address of the webhook').textContent()) ?? '';
  const secret = (await added.getByLabel('Secret of the webhook').textContent()) ?? '';
  expect(await axe(page)).toEqual([]);
  await page.keyboard.press('Escape');
  const row = page.getByRole('row').filter({ hasText: 'acme/app' });
  await row.getByText('webhook').waitFor();

  await row.getByRole('button', { name: 'Deliveries of acme/app' }).click();
  // The server reads the workflows of a new repository; this one can be listed and not fetched.
  await dialog.getByRole('row').filter({ hasText: 'fleetfoot:scan' }).getByText('fetch failed').waitFor();
  const body = JSON.stringify({ repository: { id: 7, full_name: 'acme/app' }, action: 'created' });
  const response = await fetch(new URL(new URL(address).pathname, server.url), {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-gitea-event': 'star',
      'x-gitea-delivery': 'one',
      'x-gitea-signature': createHmac('sha256', secret).update(body).digest('hex'),
    },
    body,
  });
  expect(response.ok).toBe(true);
  await dialog.getByRole('row').filter({ hasText: 'star' }).getByText('ignored').waitFor();
  expect(await axe(page)).toEqual([]);
  await dialog.getByRole('row').filter({ hasText: 'star' }).getByRole('button', { name: /Carry out delivery/ }).click();
  await page.getByText('It is carried out again').waitFor();
  await page.keyboard.press('Escape');
  await row.getByRole('button', { name: 'Remove repository acme/app' }).click();
  await confirm(page, 'Remove');
  await page.getByRole('heading', { name: 'No repositories' }).waitFor();
  http.closeAllConnections();
  http.close();
});

test('an artifact of a run is listed, downloaded and removed', async () => {
  const run = await server.submit(ARTIFACT);
  expect(await server.ended(run)).toBe('success');
  const page = await matter('storage', 'Storage');
  const row = page.getByRole('row').filter({ hasText: 'report' });
  await row.getByRole('link', { name: String(run), exact: true }).waitFor();
  await page.getByRole('meter', { name: 'Used part of the disk' }).waitFor();
  expect(await axe(page)).toEqual([]);
  const [download] = await Promise.all([page.waitForEvent('download'), row.getByRole('link', { name: 'report' }).click()]);
  expect(await readFile(await download.path(), 'utf8')).toBe('all is well');
  await row.getByRole('button', { name: 'Remove artifact report' }).click();
  await confirm(page, 'Remove');
  await page.getByRole('heading', { name: 'No artifacts' }).waitFor();
});

test('caches are listed page by page, and removed', async () => {
  const many = 53;
  const repository = { name: 'acme/app', url: 'https://git.example.org/acme/app', ref: 'refs/heads/main', sha: 'a'.repeat(40) };
  const run = await server.submit(caches(many), { repository });
  expect(await server.ended(run)).toBe('success');
  const page = await matter('storage', 'Storage');
  const list = page.getByRole('group', { name: 'Caches' });
  const rows = list.getByRole('row').filter({ hasText: 'deps-' });
  await list.getByText(`deps-${many}`, { exact: true }).waitFor();
  expect(await rows.count()).toBe(50);
  expect(await list.getByText('deps-1', { exact: true }).count()).toBe(0);
  await page.getByRole('button', { name: 'More' }).click();
  await list.getByText('deps-1', { exact: true }).waitFor();
  expect(await rows.count()).toBe(many);
  expect(await page.getByRole('button', { name: 'More' }).count()).toBe(0);
  // What lies half under the bar at the top is no fault.
  await page.evaluate(() => scrollTo(0, 0));
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'Remove cache deps-7', exact: true }).click();
  await confirm(page, 'Remove');
  await list.getByText('deps-7', { exact: true }).waitFor({ state: 'detached' });
  const { caches: left } = await server.get<{ caches: { key: string }[] }>('/api/v1/caches?limit=100');
  expect(left.map((each) => each.key)).not.toContain('deps-7');
  expect(left.length).toBe(many - 1);
});

test('older entries of the audit log come when they are asked for', async () => {
  const many = 103;
  for (let n = 1; n <= many; n += 1) await server.ask('PUT', `/api/v1/variables/PAGED`, { value: String(n) });
  const page = await matter('audit', 'Audit log');
  await page.goto('/ui/admin/audit?action=variable.set&text=PAGED');
  const rows = page.getByRole('row').filter({ hasText: 'variable.set' });
  await until(async () => (await rows.count()) === 100, 'a page of entries');
  await page.getByRole('button', { name: 'Older entries' }).click();
  await until(async () => (await rows.count()) === many, 'all entries');
  expect(await page.getByRole('button', { name: 'Older entries' }).count()).toBe(0);
  await server.ask('DELETE', '/api/v1/variables/PAGED');
});

test('the audit log is filtered in the address, and exported as it is filtered', async () => {
  const page = await matter('audit', 'Audit log');
  await page.getByLabel('What', { exact: true }).fill('user.');
  await page.getByRole('button', { name: 'Filter' }).click();
  await until(() => new URL(page.url()).search === '?action=user.', 'the filter in the address');
  await page.getByRole('row').filter({ hasText: 'user:ada' }).filter({ hasText: 'user.create' }).waitFor();
  expect(await page.getByRole('row').filter({ hasText: 'token.create' }).count()).toBe(0);
  expect(await axe(page)).toEqual([]);
  const [csv] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'CSV' }).click()]);
  const table = await readFile(await csv.path(), 'utf8');
  expect(table).toContain('user.create');
  expect(table).not.toContain('token.create');
  const [json] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'JSON lines' }).click()]);
  const entries = (await readFile(await json.path(), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as { action: string });
  expect(entries.every((entry) => entry.action.startsWith('user.'))).toBe(true);

  await page.goto('/ui/admin/audit?text=nothing+like+this');
  expect(await page.getByLabel('Words').inputValue()).toBe('nothing like this');
  await page.getByRole('heading', { name: 'Nothing fits' }).waitFor();
  const today = new Date().toISOString().slice(0, 10);
  await page.goto(`/ui/admin/audit?from=${today}&to=${today}&actor=system`);
  await page.getByRole('row').filter({ hasText: 'runner.create' }).waitFor();
});

test('health tells its parts', async () => {
  const page = await matter('health', 'Health');
  await page.getByRole('row').filter({ hasText: 'store' }).getByText('fine').waitFor();
  await page.getByRole('row').filter({ hasText: 'runners' }).getByText('1 of 1 runners are connected').waitFor();
});

test('every matter is right in the dark and on a phone', async () => {
  expect(watched.complaints).toEqual([]);
  await server.post('/api/v1/environments', { name: 'production', project: 'shop', rules: { reviewers: ['token:1'], branches: ['release/**'] } });
  await server.ask('PUT', '/api/v1/variables/REGION', { value: 'x'.repeat(200) });
  for (const look of [{ theme: 'dark' }, { theme: 'light', width: 390, height: 780 }] as const) {
    const other = await open(browser, server, look);
    await signIn(other, server);
    for (const name of MATTERS) {
      await other.page.goto(`/ui/admin/${name}`);
      await other.page.getByRole('table').or(other.page.locator('.empty')).first().waitFor();
      expect(await axe(other.page), name).toEqual([]);
      const { page } = other;
      expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), name).toBe(0);
    }
    expect(other.complaints).toEqual([]);
    await other.context.close();
  }
});
