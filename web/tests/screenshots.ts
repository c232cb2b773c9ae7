/** Pictures of the main pages, light and dark, for the README: of the real program with real runs. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import type { Browser, Page } from 'playwright-core';
import { launch, open, Server, signIn, until } from './harness.ts';
import { DEPLOY, GRAPH, HELLO, LONELY, PIPELINE } from './documents.ts';

const INTO = join(import.meta.dirname, '../../docs/images');
let browser: Browser;
let server: Server;
let pipeline: number;
let failed: number;
let lonely: { run: number; job: number };

beforeAll(async () => {
  [browser, server] = await Promise.all([launch(), Server.up()]);
  await mkdir(INTO, { recursive: true });
  await server.post('/api/v1/environments', { name: 'production', project: 'shop', rules: { reviewers: ['token:1'] } });
  const at = (project: string, branch: string, seed: string) => ({
    project,
    repository: { name: `acme/${project}`, url: `https://git.example.org/acme/${project}`, ref: `refs/heads/${branch}`, sha: seed.repeat(40).slice(0, 40) },
  });
  for (const [project, branch] of [['docs', 'main'], ['shop', 'fix/cart'], ['api', 'main'], ['shop', 'main'], ['infra', 'release/2.4']] as const) {
    await server.ended(await server.submit(HELLO, at(project, branch, '7c1e9a04')));
  }
  failed = await server.submit(GRAPH, at('api', 'feature/limits', '3f9ab2c1'));
  await server.ended(failed);
  const run = await server.submit(LONELY, at('render', 'main', 'b81d77e0'));
  const { jobs } = await server.get<{ jobs: { id: number }[] }>(`/api/v1/runs/${run}`);
  lonely = { run, job: jobs[0]?.id ?? 0 };
  await server.submit(DEPLOY, at('shop', 'main', 'd2c45f10'));
  pipeline = await server.submit(PIPELINE, at('shop', 'main', 'd2c45f10'));
  await until(async () => {
    const view = await server.get<{ jobs: { key: string; status: string }[] }>(`/api/v1/runs/${pipeline}`);
    return view.jobs.some((job) => job.key === 'integration' && job.status === 'running');
  }, 'the pipeline to be in its middle', 90_000);
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
});

for (const theme of ['light', 'dark'] as const) {
  test(`pictures, ${theme}`, async () => {
    const watched = await open(browser, server, { theme });
    await signIn(watched, server);
    const { page } = watched;
    const shoot = async (name: string, path: string, ready: (page: Page) => Promise<unknown>): Promise<void> => {
      await page.goto(path);
      await ready(page);
      // Whoever shows the time shows it after the next tick.
      await page.waitForLoadState('networkidle', { timeout: 1_500 }).catch(() => undefined);
      await page.screenshot({ path: join(INTO, `${name}-${theme}.png`) });
    };
    await shoot('runs', '/ui/runs', (at) => at.getByRole('row').nth(5).waitFor());
    await shoot('run', `/ui/runs/${pipeline}`, (at) => at.locator('.graph-lines path').first().waitFor({ state: 'attached' }));
    await shoot('timeline', `/ui/runs/${failed}?view=timeline`, (at) => at.locator('.timeline-row').nth(4).waitFor());
    await shoot('matrix', `/ui/runs/${failed}?view=matrix`, (at) => at.getByRole('table', { name: 'build' }).waitFor());
    await shoot('why', `/ui/runs/${lonely.run}/jobs/${lonely.job}`, (at) => at.getByRole('row', { name: /local/ }).waitFor());
    const { jobs } = await server.get<{ jobs: { id: number; key: string }[] }>(`/api/v1/runs/${failed}`);
    const job = jobs.find((each) => each.key === 'test')?.id;
    await shoot('job', `/ui/runs/${failed}/jobs/${job}`, (at) => at.getByRole('region', { name: 'Log', exact: true }).getByText('expected 4').first().waitFor());
    await shoot('fleet', '/ui/runners', (at) => at.getByRole('link', { name: 'local' }).first().waitFor());
    await shoot('audit', '/ui/admin/audit', (at) => at.getByRole('row').nth(1).waitFor());
    await watched.context.close();
  });
}
