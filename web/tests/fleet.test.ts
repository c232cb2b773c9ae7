/** The fleet: what it shows, and everything that can be done with a runner. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { axe, binary, FAILED_REQUEST, launch, open, Server, signIn, until, type Watched } from './harness.ts';
import { HELLO, LONELY, LONG } from './documents.ts';

interface RunnerView {
  id: number;
  name: string;
  state: string;
  labels: string[];
}

let browser: Browser;
let server: Server;
let watched: Watched;
/** The runner that a test starts with the command of the dialog. */
let added: ChildProcess | null = null;
let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'fleetfoot-runner-'));
  [browser, server] = await Promise.all([launch(), Server.up()]);
  await server.ended(await server.submit(HELLO));
  await server.submit(LONELY);
  await server.submit(LONG);
  watched = await open(browser, server);
  await signIn(watched, server, '/ui/runners');
});
afterAll(async () => {
  await browser?.close();
  if (added?.pid !== undefined && added.exitCode === null) {
    const over = new Promise((resolve) => added?.once('exit', resolve));
    process.kill(-added.pid, 'SIGKILL');
    await over;
  }
  await server?.down();
  await rm(home, { recursive: true, force: true });
});

const runners = async (): Promise<RunnerView[]> => (await server.get<{ items: RunnerView[] }>('/api/v1/runners')).items;

/** Colours that were drawn into a chart; a canvas without lines has at most those of the grid. */
async function colors(page: Page, chart: string): Promise<string[]> {
  return page.locator('figure').filter({ hasText: chart }).locator('canvas').evaluate((node) => {
    const { width, height } = node as HTMLCanvasElement;
    // A copy: the browser advises against reading what is drawn to.
    const context = Object.assign(document.createElement('canvas'), { width, height }).getContext('2d', { willReadFrequently: true });
    context?.drawImage(node as HTMLCanvasElement, 0, 0);
    const data = context?.getImageData(0, 0, width, height).data ?? [];
    const seen = new Set<string>();
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] === 255) seen.add(`rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`);
    }
    return [...seen];
  });
}

/** What a token of the style sheet is in the theme of the page. */
async function token(page: Page, name: string): Promise<string> {
  return page.evaluate((of) => {
    const probe = document.createElement('span');
    probe.style.color = `var(${of})`;
    document.body.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  }, name);
}

async function act(page: Page, runner: string, item: string): Promise<void> {
  await page.getByRole('button', { name: `Actions for ${runner}` }).click();
  await page.getByRole('menuitem', { name: item }).click();
}

test('tiles and tables say what runs, what waits, and for what', async () => {
  const { page } = watched;
  const tile = (name: string) => page.locator('.tile').filter({ hasText: name });
  await tile('Runners connected').getByText('1 busy').waitFor();
  await tile('Slots in use').getByText('1 of 2').waitFor();
  await tile('Jobs waiting').getByText('the oldest since').waitFor();
  await page.getByRole('group', { name: 'Queues' }).getByRole('row').filter({ hasText: 'default' }).waitFor();
  await page.getByRole('group', { name: 'Labels' }).getByRole('row').filter({ hasText: 'gpu' }).getByText('none').waitFor();
  const row = page.getByRole('group', { name: 'Runners' }).getByRole('row').filter({ hasText: 'local' });
  await row.getByText('Busy').waitFor();
  await row.getByText('1 of 2').waitFor();
  expect(await axe(page)).toEqual([]);
});

test('charts are drawn in the colours of the theme, of the range and the label that the address names', async () => {
  const { page } = watched;
  await until(async () => (await server.get<{ names: string[] }>('/api/v1/series/names')).names.includes('label:gpu'), 'the first measurement');
  await page.goto('/ui/runners?of=label%3Agpu');
  await page.locator('figure').filter({ hasText: 'Depth of label gpu' }).getByText('waiting 1').waitFor();
  const busy = await token(page, '--busy');
  await until(async () => (await colors(page, 'Slots')).includes(busy), 'the line of slots in use', 60_000);
  for (const range of ['30d', '7d', '1d', '6h']) {
    await page.getByRole('button', { name: range, exact: true }).click();
    await until(() => new URL(page.url()).search === `?range=${range}&of=label%3Agpu`, 'the range in the address');
    await page.locator('figure').filter({ hasText: 'Depth of label gpu' }).getByText('waiting 1').waitFor();
  }
  await page.getByLabel('Queue or label').selectOption('queue:default');
  const waited = page.locator('figure').filter({ hasText: 'Waiting time of queue default' });
  await waited.getByText('half waited less than').waitFor();
  await waited.getByText('19 of 20 less than').waitFor();
  expect(new URL(page.url()).search).toBe('?range=6h&of=queue%3Adefault');

  const dark = await open(browser, server, { theme: 'dark' });
  await signIn(dark, server, '/ui/runners');
  const darkBusy = await token(dark.page, '--busy');
  expect(darkBusy).not.toBe(busy);
  await until(async () => (await colors(dark.page, 'Slots')).includes(darkBusy), 'the line in the dark');
  expect(await axe(dark.page)).toEqual([]);
  expect(dark.complaints).toEqual([]);
  await dark.context.close();
});

test('a runner is drained and resumed', async () => {
  const { page } = watched;
  await page.goto('/ui/runners');
  const row = page.getByRole('row').filter({ hasText: 'local' });
  await act(page, 'local', 'Drain');
  await row.getByText('Draining').waitFor();
  await act(page, 'local', 'Resume');
  await row.getByText('Busy').waitFor();
});

test('labels are added to those that the runner offers itself', async () => {
  const { page } = watched;
  await act(page, 'local', 'Labels…');
  const dialog = page.getByRole('dialog', { name: 'Labels of local' });
  expect(await axe(page)).toEqual([]);
  await dialog.getByLabel('Labels', { exact: true }).fill('big\nfast');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.waitFor({ state: 'detached' });
  await until(async () => (await runners())[0]?.labels.includes('fast') ?? false, 'the label');
  await act(page, 'local', 'Labels…');
  expect((await dialog.getByLabel('Labels', { exact: true }).inputValue()).split('\n').sort()).toEqual(['big', 'fast']);
  await page.keyboard.press('Escape');
});

test('the command of the dialog registers a runner, which appears', async () => {
  const { page } = watched;
  await page.getByRole('button', { name: 'Add a runner' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Labels').fill('gpu, two words');
  expect(await axe(page)).toEqual([]);
  await dialog.getByRole('button', { name: 'Show the commands' }).click();
  const commands = dialog.locator('pre');
  await dialog.getByText('Waiting for the runner to connect').waitFor();
  const command = (await commands.textContent()) ?? '';
  expect(command).toContain(`--server ${server.url}`);
  for (const [way, word] of [['systemd', 'systemctl enable'], ['Docker Compose', 'services:'], ['Kubernetes', 'kubectl apply']] as const) {
    await dialog.getByRole('button', { name: way }).click();
    await commands.getByText(word).waitFor();
  }
  expect(await axe(page)).toEqual([]);

  // As a person would type it, with the program on the PATH of a shell.
  await symlink(binary(), join(home, 'fleetfoot'));
  added = spawn('sh', ['-c', command], {
    cwd: home,
    detached: true,
    stdio: 'ignore',
    env: { ...process.env, PATH: `${home}:${process.env['PATH']}`, HOME: home, XDG_DATA_HOME: home, FLEETFOOT_DATA: '', FLEETFOOT_URL: '', FLEETFOOT_TOKEN: '' },
  });
  await dialog.getByText('Connected:').waitFor({ timeout: 30_000 });
  await dialog.getByRole('button', { name: 'Done' }).click();
  const newcomer = (await runners()).find((runner) => runner.name !== 'local');
  expect(newcomer?.labels).toEqual(expect.arrayContaining(['gpu', 'two words']));
  await page.getByRole('row').filter({ hasText: newcomer?.name ?? '?' }).getByText('two words').waitFor();
});

test('the page of a runner tells what it is and does', async () => {
  const { page } = watched;
  await page.getByRole('link', { name: 'local', exact: true }).click();
  await page.getByRole('heading', { level: 1, name: 'local' }).waitFor();
  await page.getByRole('region', { name: 'Jobs of the runner' }).getByRole('link', { name: 'wait' }).waitFor();
  await page.getByText('1 (100 %)').waitFor();
  await page.locator('figure').filter({ hasText: 'Memory' }).getByText(/in use \d.*iB/).waitFor();
  const busy = await token(page, '--busy');
  await until(async () => (await colors(page, 'Slots')).includes(busy), 'the line of slots in use', 40_000);
  expect(await axe(page)).toEqual([]);
  await page.getByRole('link', { name: 'Runs that it had' }).click();
  await page.getByRole('row').filter({ hasText: 'Hello #1' }).waitFor();
  expect(await page.getByRole('row').filter({ hasText: 'Lonely' }).count()).toBe(0);
});

test('a runner with another version, and one that reports an error, are seen', async () => {
  const { page } = watched;
  const { id, token: own } = await server.post<{ id: number; token: string }>('/api/v1/runners', { name: 'plain', description: 'speaks HTTP alone', labels: ['odd'] });
  const say = async (path: string, body: unknown): Promise<void> => {
    const headers = { authorization: `Bearer ${own}`, 'content-type': 'application/json' };
    const response = await fetch(`${server.url}/runners/${id}/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
    expect(response.status, await response.text()).toBeLessThan(300);
  };
  await say('heartbeat', { version: '0.0.7', info: { capabilities: { git: '9.9.9' } } });
  await say('status', { status: 'error', message: 'the disk is full' });
  await page.goto('/ui/runners');
  const row = page.getByRole('group', { name: 'Runners' }).getByRole('row').filter({ hasText: 'plain' });
  await row.getByText('Error').waitFor();
  await page.getByText(/A runner has another version than the server .*plain 0\.0\.7/).waitFor();
  expect(await axe(page)).toEqual([]);
  await row.getByRole('link', { name: 'plain' }).click();
  await page.getByRole('alert').filter({ hasText: 'the disk is full' }).waitFor();
  await page.getByText('git 9.9.9').waitFor();
  await server.ask('DELETE', `/api/v1/runners/${id}`);
  await page.getByRole('heading', { name: 'There is no such runner' }).waitFor({ timeout: 20_000 });
  expect(watched.complaints.splice(0).filter((each) => !FAILED_REQUEST.test(each))).toEqual([]);
});

test('a new token is shown once, and a removed runner is gone', async () => {
  const { page } = watched;
  const newcomer = (await runners()).find((runner) => runner.name !== 'local');
  const name = newcomer?.name ?? '';
  await page.goto(`/ui/runners/${newcomer?.id}`);
  await act(page, name, 'New token…');
  await page.getByRole('dialog').getByRole('button', { name: 'Make a new token' }).click();
  const shown = page.getByRole('dialog', { name: `New token of ${name}` });
  const fresh = (await shown.locator('code').textContent()) ?? '';
  expect(fresh).toMatch(/^ffrun_/);
  expect(await axe(page)).toEqual([]);
  await page.keyboard.press('Escape');
  await shown.waitFor({ state: 'detached' });

  await act(page, name, 'Remove…');
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
  await page.getByRole('heading', { level: 1, name: 'Fleet' }).waitFor();
  await page.getByRole('row').filter({ hasText: 'local' }).waitFor();
  expect(await page.getByRole('link', { name, exact: true }).count()).toBe(0);
  expect((await runners()).map((runner) => runner.name)).toEqual(['local']);
  expect(watched.complaints.splice(0)).toEqual([]);
  await page.goto(`/ui/runners/${newcomer?.id}`);
  await page.getByRole('heading', { name: 'There is no such runner' }).waitFor();
  expect(watched.complaints.splice(0).filter((each) => !FAILED_REQUEST.test(each))).toEqual([]);
});

test('the fleet fits a phone, in the dark', async () => {
  const phone = await open(browser, server, { theme: 'dark', width: 390, height: 780 });
  await signIn(phone, server, '/ui/runners');
  const { id } = (await runners())[0] ?? { id: 0 };
  for (const path of ['/ui/runners', `/ui/runners/${id}`]) {
    await phone.page.goto(path);
    await phone.page.locator('canvas').nth(3).waitFor();
    expect(await phone.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth), path).toBe(0);
    expect(await axe(phone.page), path).toEqual([]);
  }
  expect(phone.complaints).toEqual([]);
  await phone.context.close();
});

test('the first load brings no chart and stays small', async () => {
  const fresh = await open(browser, server);
  const scripts: Promise<Buffer>[] = [];
  fresh.page.on('response', (response) => {
    // What is fetched ahead when the page closes has no body any more.
    if (response.request().resourceType() === 'script') scripts.push(response.body().catch(() => Buffer.alloc(0)));
  });
  await signIn(fresh, server);
  await fresh.page.getByRole('link', { name: 'Hello' }).first().waitFor();
  let all = 0;
  for (const script of await Promise.all(scripts)) {
    expect(script.includes('uplot')).toBe(false);
    all += gzipSync(script).length;
  }
  expect(scripts.length).toBeGreaterThan(1);
  expect(all).toBeGreaterThan(50_000);
  expect(all, `${all} bytes`).toBeLessThan(300_000);
  await fresh.context.close();
});
