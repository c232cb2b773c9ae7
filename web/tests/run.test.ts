/** The page of a run: what it shows and what can be done there. */
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { axe, launch, open, Server, signIn, until, type Watched } from './harness.ts';
import { ARTIFACT, DEBUG, DEPLOY, GRAPH, HELLO, LONELY, LONG } from './documents.ts';

let browser: Browser;
let server: Server;
let watched: Watched;
let graph: number;
beforeAll(async () => {
  [browser, server] = await Promise.all([launch(), Server.up()]);
  graph = await server.submit(GRAPH, { project: 'web' });
  watched = await open(browser, server);
  await signIn(watched, server);
  expect(await server.ended(graph)).toBe('failure');
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
});

test('the graph shows what needs what and how each job stands', async () => {
  const { page } = watched;
  await page.goto(`/ui/runs/${graph}`);
  await page.getByRole('heading', { name: 'Build and test #1' }).waitFor();
  expect(await page.title()).toBe('Failed: Build and test #1 · Fleetfoot');
  expect(await page.locator('link[rel=icon]').getAttribute('href')).toMatch(/failure/);
  const drawing = page.getByRole('group', { name: 'Graph of the jobs' });
  await drawing.getByRole('link', { name: /Failed test ?, needs build, lint/ }).waitFor();
  await drawing.getByRole('link', { name: /Skipped deploy ?, needs test/ }).waitFor();
  const matrix = drawing.getByRole('group', { name: 'build, 4 jobs' });
  expect(await matrix.getByRole('link').count()).toBe(4);
  const left = async (name: RegExp): Promise<number> => (await drawing.getByRole('link', { name }).boundingBox())?.x ?? 0;
  expect(await left(/Succeeded lint/)).toBeLessThan(await left(/Failed test/));
  expect(await left(/Failed test/)).toBeLessThan(await left(/deploy/));
  expect(await page.locator('.graph-lines path').count()).toBe(3);
  expect(await axe(page)).toEqual([]);
});

test('timeline, runners and matrix show the same jobs otherwise', async () => {
  const { page } = watched;
  await page.getByRole('button', { name: 'Timeline' }).click();
  await until(() => page.url().endsWith('?view=timeline'), 'the view in the address');
  const jobs = page.getByRole('region', { name: 'Jobs', exact: true });
  await jobs.getByText(/waited .*, set-up .*, steps .*/).first().waitFor({ state: 'attached' });
  expect(await jobs.locator('.timeline-name').count()).toBe(7);
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'By runner' }).click();
  await jobs.getByRole('heading', { name: 'local' }).waitFor();
  await page.getByRole('button', { name: 'Matrix' }).click();
  const table = jobs.getByRole('table', { name: 'build' });
  expect(await table.getByRole('columnheader').allTextContents()).toEqual(expect.arrayContaining(['debian', 'alpine']));
  expect(await table.getByRole('link').count()).toBe(4);
  expect(await axe(page)).toEqual([]);
});

test('annotations and summaries are shown, and nothing in them can do harm', async () => {
  const { page } = watched;
  const annotations = page.getByRole('region', { name: 'Annotations' });
  await annotations.getByText('assert: expected 4 but got 5').waitFor();
  expect(await annotations.getByText('unused variable x').count()).toBe(4);
  await annotations.getByText('src/main.go:3').first().waitFor();
  const summary = page.getByRole('region', { name: /Summary of build/ });
  await summary.getByRole('heading', { name: 'Coverage' }).waitFor();
  await summary.getByRole('cell', { name: '91 %' }).waitFor();
  expect(await summary.getByText('<script>window.broken = true</script>').count()).toBe(1);
  expect(await summary.getByRole('link').evaluateAll((links) => links.map((link) => link.getAttribute('href')))).toEqual(['https://example.org/report']);
  expect(await page.evaluate(() => 'broken' in window)).toBe(false);
});

test('a failed job opens with its message and its log', async () => {
  const { page } = watched;
  await page.getByRole('navigation', { name: 'Jobs of the run' }).getByRole('link', { name: /test/ }).click();
  await page.getByText("step 'Unit tests': exit code 3").waitFor();
  await page.getByRole('region', { name: 'Log', exact: true }).getByText('expected 4 but got 5').first().waitFor();
  expect(await page.title()).toContain('Failed: test');
  expect(await axe(page)).toEqual([]);
});

test('failed jobs are run again, as a new attempt that leads back to the old one', async () => {
  const { page } = watched;
  await page.getByRole('button', { name: 'Run again' }).click();
  await page.getByRole('menuitem', { name: 'Failed jobs and what needs them' }).click();
  await until(() => !page.url().includes(`/runs/${graph}`), 'the new run');
  const again = Number(/runs\/(\d+)/.exec(page.url())?.[1]);
  expect((await server.get<{ rerun_of: number }>(`/api/v1/runs/${again}`)).rerun_of).toBe(graph);
  expect(await server.ended(again)).toBe('failure');
  await page.getByRole('button', { name: /^Attempt 2 of 2/ }).click();
  await page.getByRole('menuitem', { name: /Attempt 1/ }).click();
  await until(() => page.url().endsWith(`/runs/${graph}`), 'the first attempt');
});

test('all jobs are run again with debug output, which the log then has', async () => {
  const { page } = watched;
  const run = await server.submit(DEBUG);
  expect(await server.ended(run)).toBe('success');
  const words = async (of: number): Promise<string> => {
    const { jobs } = await server.get<{ jobs: { id: number }[] }>(`/api/v1/runs/${of}`);
    const log = await fetch(`${server.url}/api/v1/jobs/${jobs[0]?.id}/log/lines?count=1000`, { headers: { authorization: `Bearer ${server.token}` } });
    return log.text();
  };
  expect(await words(run)).not.toContain('debug is 1');
  await page.goto(`/ui/runs/${run}`);
  await page.getByRole('button', { name: 'Run again' }).click();
  await page.getByRole('menuitem', { name: 'All jobs, with debug output' }).click();
  await until(() => !page.url().includes(`/runs/${run}`), 'the new run');
  const again = Number(/runs\/(\d+)/.exec(page.url())?.[1]);
  expect(await server.ended(again)).toBe('success');
  expect(await words(again)).toContain('debug is 1');
  await page.getByRole('navigation', { name: 'Jobs of the run' }).getByRole('link', { name: /tell/ }).click();
  await page.getByRole('region', { name: 'Log', exact: true }).getByText('debug is 1', { exact: true }).first().waitFor();
});

test('a further attempt appears in the switcher of a page that is open', async () => {
  const { page } = watched;
  const run = await server.submit(HELLO);
  await server.ended(run);
  await page.goto(`/ui/runs/${run}`);
  await page.getByRole('heading', { name: /Hello/ }).first().waitFor();
  expect(await page.getByRole('button', { name: /^Attempt/ }).count()).toBe(0);
  const { run: again } = await server.post<{ run: number }>(`/api/v1/runs/${run}/rerun`, {});
  await page.getByRole('button', { name: 'Attempt 1 of 2; show others' }).click();
  await page.getByRole('menuitem', { name: /Attempt 2/ }).click();
  await until(() => page.url().endsWith(`/runs/${again}`), 'the second attempt');
  await server.ended(again);
});

test('an artifact is downloaded from the page of its run', async () => {
  const { page } = watched;
  const run = await server.submit(ARTIFACT);
  await page.goto(`/ui/runs/${run}`);
  const part = page.getByRole('region', { name: 'Artifacts' });
  const [download] = await Promise.all([page.waitForEvent('download', { timeout: 40_000 }), part.getByRole('link', { name: 'Download report' }).click({ timeout: 40_000 })]);
  expect(await readFile(await download.path(), 'utf8')).toBe('all is well');
  expect(await axe(page)).toEqual([]);
});

test('a running run is followed live and cancelled', async () => {
  const { page } = watched;
  const run = await server.submit(LONG);
  await page.goto(`/ui/runs/${run}`);
  await until(async () => (await page.title()).startsWith('Running: Long'), 'the run to run');
  await page.getByRole('button', { name: 'Cancel run' }).click();
  const dialog = page.getByRole('dialog', { name: 'Cancel this run?' });
  expect(await axe(page)).toEqual([]);
  await dialog.getByRole('button', { name: 'Cancel run' }).click();
  await until(async () => (await page.title()).startsWith('Cancelled: Long'), 'the run to be cancelled');
  expect(await server.ended(run)).toBe('cancelled');
});

test('a waiting job says why, and which runner comes nearest', async () => {
  const { page } = watched;
  const run = await server.submit(LONELY);
  await page.goto(`/ui/runs/${run}`);
  await page.getByRole('group', { name: 'Graph of the jobs' }).getByRole('link', { name: /render/ }).click();
  const why = page.getByRole('region', { name: 'Why it waits' });
  await why.getByText(/gpu/).first().waitFor();
  await why.getByRole('row', { name: /local/ }).getByText('gpu').waitFor();
  expect(await axe(page)).toEqual([]);
  await page.getByRole('button', { name: 'Cancel job' }).click();
  expect(await server.ended(run)).toBe('cancelled');
});

test('a deployment is approved with a comment, another is rejected', async () => {
  const { page } = watched;
  await server.post('/api/v1/environments', { name: 'production', project: 'web', rules: { reviewers: ['token:1'] } });
  const first = await server.submit(DEPLOY, { project: 'web' });
  await page.goto(`/ui/runs/${first}`);
  const box = page.getByRole('region', { name: 'Approvals' });
  await box.getByText('production').waitFor();
  await until(async () => (await page.title()).startsWith('Waiting for approval'), 'the title');
  expect(await axe(page)).toEqual([]);
  await box.getByRole('button', { name: 'Approve' }).click();
  await page.getByLabel('Comment (optional)').fill('looks right');
  await page.getByRole('dialog').getByRole('button', { name: 'Approve' }).click();
  expect(await server.ended(first)).toBe('success');
  await until(async () => (await page.title()).startsWith('Succeeded'), 'the title');
  expect(await box.count()).toBe(0);

  const second = await server.submit(DEPLOY, { project: 'web' });
  await page.goto(`/ui/runs/${second}`);
  await box.getByRole('button', { name: 'Reject' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Reject' }).click();
  expect(await server.ended(second)).toBe('failure');
});

test('everything is as accessible in the dark, and on a phone', async () => {
  const dark = await open(browser, server, { theme: 'dark', width: 380, height: 740 });
  await signIn(dark, server, `/ui/runs/${graph}`);
  await dark.page.getByRole('group', { name: 'Graph of the jobs' }).waitFor();
  for (const view of ['', '?view=timeline', '?view=matrix']) {
    await dark.page.goto(`/ui/runs/${graph}${view}`);
    await dark.page.getByRole('region', { name: 'Annotations' }).waitFor();
    expect(await axe(dark.page)).toEqual([]);
    expect(await dark.page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(380);
  }
  expect(dark.complaints).toEqual([]);
  await dark.context.close();
});

test('a run that is not there says so', async () => {
  const lost = await open(browser, server);
  await signIn(lost, server, '/ui/runs/999999');
  await lost.page.getByText('This run does not exist').waitFor();
  await lost.context.close();
});

test('nothing of all this was worth a complaint in the console', () => {
  expect(watched.complaints).toEqual([]);
});
