/**
 * What browser tests need: the real program with a real runner in a fresh
 * directory, and pages of a real browser that record every complaint in their
 * console. Everything started here is ended by its process id.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';

const HERE = import.meta.dirname;
const DIST = join(HERE, '..', 'dist');

/** The program under test: named by the environment, or what the workspace built last. */
export function binary(): string {
  const candidates = [process.env['FLEETFOOT_BINARY'], join(HERE, '../../target/debug/fleetfoot'), join(HERE, '../../target/release/fleetfoot')];
  const found = candidates.find((path) => path !== undefined && existsSync(path));
  if (!found) throw new Error('no fleetfoot to test: cargo build -p fleetfoot, or set FLEETFOOT_BINARY');
  return found;
}

/** A control plane with a runner in one process. */
export class Server {
  readonly data: string;
  /** `http://127.0.0.1:PORT`. */
  url = '';
  token = '';
  private child: ChildProcess | null = null;

  private constructor(data: string) {
    this.data = data;
  }

  /** Starts one in a fresh directory. */
  static async up(...more: string[]): Promise<Server> {
    const server = new Server(await mkdtemp(join(tmpdir(), 'fleetfoot-web-')));
    await server.start('127.0.0.1:0', more);
    return server;
  }

  /** Starts it again where it was, after {@link kill}. */
  async restart(): Promise<void> {
    await this.start(new URL(this.url).host, []);
  }

  /** Ends it at once, as a crash would. */
  async kill(): Promise<void> {
    const child = this.child;
    this.child = null;
    if (!child || child.exitCode !== null) return;
    const over = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await over;
  }

  /** Ends it and removes its directory. */
  async down(): Promise<void> {
    const child = this.child;
    this.child = null;
    if (child && child.exitCode === null) {
      const over = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      // Running jobs are let go by the second signal.
      const hurry = setTimeout(() => child.kill('SIGTERM'), 300);
      await over;
      clearTimeout(hurry);
    }
    await rm(this.data, { recursive: true, force: true });
  }

  private async start(listen: string, more: readonly string[]): Promise<void> {
    const child = spawn(binary(), ['up', '--data', this.data, '--listen', listen, '--slots', '2', ...more, '--output', 'json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, FLEETFOOT_URL: '', FLEETFOOT_TOKEN: '', FLEETFOOT_DATA: '' },
    });
    this.child = child;
    let said = '';
    child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`the server ended: ${said}`);
      const address = (await readFile(join(this.data, 'address'), 'utf8').catch(() => '')).trim();
      if (address === '') return false;
      this.url = address.startsWith('http') ? address : `http://${address}`;
      return (await fetch(`${this.url}/readyz`).catch(() => null))?.ok ?? false;
    }, `the server to listen`);
    this.token = (await readFile(join(this.data, 'admin.token'), 'utf8')).trim();
    await until(async () => (await this.get<{ items: { state: string }[] }>('/api/v1/runners')).items.some((runner) => runner.state === 'idle' || runner.state === 'busy'), 'the runner');
  }

  /** What the API answers to an admin. */
  async get<T>(path: string): Promise<T> {
    return (await this.ask('GET', path)) as T;
  }

  /** Sends something to the API as an admin. */
  async post<T>(path: string, body: unknown): Promise<T> {
    return (await this.ask('POST', path, body)) as T;
  }

  /** Any request as an admin; a refusal is an error of the test. */
  async ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.url + path, {
      method,
      headers: { Authorization: `Bearer ${this.token}`, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  }

  /** Submits a workflow and answers the id of its run. */
  async submit(document: string, more: Record<string, unknown> = {}): Promise<number> {
    const { run } = await this.post<{ run: number }>('/api/v1/runs', { kind: 'workflow', document, path: 'ci.yml', ...more });
    return run;
  }

  /** Waits until a run has ended, and answers its conclusion. */
  async ended(run: number): Promise<string> {
    let conclusion = '';
    await until(async () => {
      const view = await this.get<{ status: string; conclusion: string | null }>(`/api/v1/runs/${run}`);
      conclusion = view.conclusion ?? '';
      return view.status === 'completed';
    }, `run ${run} to end`);
    return conclusion;
  }
}

/** Waits for a condition, at most for half a minute. */
export async function until(condition: () => Promise<boolean> | boolean, what: string, patienceMs = 30_000): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** Starts the browser, without anything that would look for other hosts. */
export async function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A page and everything that it complained about. */
export interface Watched {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Errors and warnings of the console, faults of scripts, and requests to other hosts. */
  readonly complaints: string[];
}

/** What a browser says of every request that a test makes fail on purpose. */
export const FAILED_REQUEST = /Failed to load resource|net::ERR_/;

/** Opens a page in a fresh profile. */
export async function open(browser: Browser, server: Server, look: { theme?: 'light' | 'dark'; width?: number; height?: number } = {}): Promise<Watched> {
  const context = await browser.newContext({
    baseURL: server.url,
    colorScheme: look.theme ?? 'light',
    viewport: { width: look.width ?? 1280, height: look.height ?? 800 },
    locale: 'en-GB',
    timezoneId: 'UTC',
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(`${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(server.url).origin && !request.url().startsWith('blob:')) complaints.push(`a request to ${request.url()}`);
  });
  if (process.env['FLEETFOOT_UI'] === 'dist') await serveDist(context);
  return { page, context, complaints };
}

/** While developing: the files of `dist` in place of the embedded ones, under the server's own policy. */
async function serveDist(context: BrowserContext): Promise<void> {
  const types: Record<string, string> = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.html': 'text/html; charset=utf-8' };
  await context.route('**/ui/**', async (route) => {
    const path = new URL(route.request().url()).pathname.replace(/^\/ui\//, '');
    const file = path.startsWith('assets/') ? path : 'index.html';
    const policy = (await fetch(new URL('/ui/', route.request().url()))).headers.get('content-security-policy') ?? '';
    await route.fulfill({
      body: await readFile(join(DIST, file)),
      headers: { 'content-type': types[extname(file)] ?? 'text/plain', 'content-security-policy': policy },
    });
  });
}

/** Signs in with the admin token, through the page. */
export async function signIn({ page }: Watched, server: Server, to = '/ui/runs'): Promise<void> {
  await page.goto(to);
  const token = page.getByLabel('API token');
  const name = page.getByLabel('Name');
  await token.or(name).first().waitFor();
  if (!(await token.isVisible())) await page.getByRole('button', { name: 'Use an API token instead' }).click();
  await token.fill(server.token);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.getByRole('navigation', { name: 'Main' }).waitFor();
}

/** One thing that the accessibility check found. */
interface Violation {
  readonly id: string;
  readonly help: string;
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[];
}

/** Checks a page with axe; answers what it found, in words. */
export async function axe(page: Page): Promise<string[]> {
  const source = await readFile(join(HERE, '../node_modules/axe-core/axe.min.js'), 'utf8');
  await page.evaluate(source);
  const violations = await page.evaluate(async (): Promise<Violation[]> => {
    const { axe: check } = window as unknown as { axe: { run: (options: object) => Promise<{ violations: Violation[] }> } };
    return (await check.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })).violations;
  });
  return violations.map((found) => `${found.id}: ${found.help}: ${found.nodes.map((node) => `${node.html} ${node.failureSummary ?? ''}`).join('\n  ')}`);
}
