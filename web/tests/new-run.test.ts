/** Starting a run from the form that a workflow's inputs make. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Browser } from 'playwright-core';
import { axe, launch, open, Server, signIn, until } from './harness.ts';

const RELEASE = `
name: Release
run-name: Release \${{ inputs.version }} to \${{ inputs.target }}
on:
  workflow_dispatch:
    inputs:
      version:
        description: Version to publish
        required: true
      target:
        type: choice
        options: [staging, production]
        default: staging
      dry-run:
        type: boolean
        description: Change nothing
jobs:
  release:
    runs-on: ubuntu-latest
    steps:
      - run: test "\${{ inputs.version }}/\${{ inputs.target }}/\${{ inputs.dry-run }}" = 1.2.3/production/true
`;

let browser: Browser;
let server: Server;
beforeAll(async () => {
  [browser, server] = await Promise.all([launch(), Server.up()]);
});
afterAll(async () => {
  await browser?.close();
  await server?.down();
});

test('without a repository the form says how to get one', async () => {
  const watched = await open(browser, server);
  await signIn(watched, server);
  await watched.page.keyboard.press('n');
  const dialog = watched.page.getByRole('dialog', { name: 'New run' });
  await dialog.getByText('fleetfoot repo add').waitFor();
  expect(await axe(watched.page)).toEqual([]);
  expect(watched.complaints).toEqual([]);
  await watched.context.close();
});

test('a workflow of a repository is started with its inputs', async () => {
  const work = join(server.data, 'repository');
  mkdirSync(join(work, '.github/workflows'), { recursive: true });
  writeFileSync(join(work, '.github/workflows/release.yml'), RELEASE);
  writeFileSync(join(work, '.github/workflows/push.yml'), 'name: Push\non: push\njobs:\n  a:\n    runs-on: x\n    steps: [{run: a}]\n');
  const git = (...args: string[]): void => {
    execFileSync('git', ['-c', 'user.name=ada', '-c', 'user.email=ada@example.org', ...args], { cwd: work, stdio: 'ignore' });
  };
  git('init', '-b', 'main');
  git('add', '.');
  git('commit', '-m', 'workflows');
  await server.post('/api/v1/repos', { url: `file://${work}`, forge: 'gitea', name: 'acme/app', api_url: server.url });

  const watched = await open(browser, server);
  await signIn(watched, server);
  const { page } = watched;
  await page.getByRole('button', { name: 'New run' }).click();
  const dialog = page.getByRole('dialog', { name: 'New run' });
  await dialog.getByLabel('version (required)').fill('1.2.3');
  await dialog.getByLabel('target').selectOption('production');
  await dialog.getByLabel('dry-run').check();
  expect(await axe(page)).toEqual([]);
  await dialog.getByRole('button', { name: 'Start run' }).click();
  await page.getByRole('heading', { name: 'Release 1.2.3 to production #1' }).waitFor();
  const run = Number(/runs\/(\d+)/.exec(page.url())?.[1]);
  expect(await server.ended(run)).toBe('success');
  await until(async () => (await page.title()).startsWith('Succeeded'), 'the title');
  const inputs = page.getByRole('region', { name: 'Inputs' });
  await inputs.getByText('1.2.3').waitFor();
  expect(watched.complaints).toEqual([]);
  await watched.context.close();
});
