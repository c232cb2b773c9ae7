/**
 * A real server and a real runner for tests and benches, as processes of their own in fresh
 * directories. Whoever starts them ends them with `stop`, by their process ids. With
 * `FLEETFOOT_UI=dist` pages come from `web/dist` and not from the binary, which spares a
 * build of the binary while one works on the pages.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { preview, type PreviewServer } from 'vite';

/** The program. */
export const BINARY = process.env['FLEETFOOT_BINARY'] ?? fileURLToPath(new URL('../../../target/debug/fleetfoot', import.meta.url));

/** Flags with which Chromium asks no other host for anything. */
export const CHROMIUM = {
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
};

/** Waits until something holds; fails with words after a while. */
export async function until<T>(what: string, look: () => T | Promise<T>, patience = 15_000): Promise<NonNullable<T>> {
  const end = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found as NonNullable<T>;
    if (Date.now() > end) throw new Error(`waited ${patience} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** One step of a job for {@link Fleet.submit}. */
export interface Step {
  readonly name: string;
  readonly run: string;
}

/** A job as the API shows it, as far as tests look. */
export interface Job {
  readonly id: number;
  readonly run: number;
  readonly status: string;
  readonly conclusion: string | null;
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** Server, runner, and what one needs to speak to them. */
export class Fleet {
  readonly token: string;
  /** Address of the API. */
  readonly url: string;
  /** Address of the pages. */
  pages: string;
  private readonly dir: string;
  private readonly port: number;
  private server: ChildProcess | undefined;
  private readonly runners: ChildProcess[] = [];
  private preview: PreviewServer | undefined;

  private constructor(dir: string, port: number, server: ChildProcess) {
    this.dir = dir;
    this.port = port;
    this.server = server;
    this.url = `http://127.0.0.1:${port}`;
    this.pages = this.url;
    this.token = readFileSync(join(dir, 'data', 'admin.token'), 'utf8').trim();
  }

  /** Starts a server, and a runner whose steps have `slots` places and whose settings are `more` (`MAX_LOG`). */
  static async start(slots = 2, more: Readonly<Record<string, string>> = {}): Promise<Fleet> {
    if (!existsSync(BINARY)) throw new Error(`there is no ${BINARY}: build it (cargo build -p fleetfoot), or name another with FLEETFOOT_BINARY`);
    const dir = mkdtempSync(join(tmpdir(), 'fleetfoot-web-'));
    const port = await freePort();
    const server = await Fleet.serve(dir, port);
    const fleet = new Fleet(dir, port, server);
    if (process.env['FLEETFOOT_UI'] === 'dist') await fleet.serveDist();
    const made = fleet.cli(['token', 'create', '--registration', '--output', 'json']);
    const { token } = JSON.parse(made) as { token: string };
    const runner = spawn(
      BINARY,
      ['runner', 'up', '--server', fleet.url, '--token', token, '--name', 'r1', '--slots', String(slots), '--work-dir', join(dir, 'work'), '--separate-stderr'],
      {
        env: { ...fleet.environment(), ...Object.fromEntries(Object.entries(more).map(([name, value]) => [`FLEETFOOT_RUNNER_${name}`, value])) },
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    fleet.runners.push(runner);
    collect(runner, join(dir, 'runner.log'));
    return fleet;
  }

  private static async serve(dir: string, port: number): Promise<ChildProcess> {
    const server = spawn(BINARY, ['server', '--data', join(dir, 'data'), '--listen', `127.0.0.1:${port}`, '--output', 'json'], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    collect(server, join(dir, 'server.log'));
    let said = '';
    server.stdout?.on('data', (piece: Buffer) => (said += piece.toString()));
    await until('the server is ready', () => {
      if (server.exitCode !== null) throw new Error(`the server ended: ${readFileSync(join(dir, 'server.log'), 'utf8')}`);
      return said.includes('\n');
    });
    return server;
  }

  private async serveDist(): Promise<void> {
    const passOn = { target: this.url, changeOrigin: true, headers: { origin: this.url } };
    this.preview = await preview({
      root: fileURLToPath(new URL('../..', import.meta.url)),
      logLevel: 'error',
      preview: { host: '127.0.0.1', port: 0, proxy: { '/api': passOn, '/auth': passOn, '/healthz': passOn } },
    });
    this.pages = new URL(this.preview.resolvedUrls?.local[0] ?? this.url).origin;
  }

  private environment(): NodeJS.ProcessEnv {
    return { ...process.env, FLEETFOOT_URL: this.url, FLEETFOOT_TOKEN: this.token };
  }

  /** Runs the command line; gives what it prints. */
  cli(args: readonly string[], input?: string): string {
    return execFileSync(BINARY, args, { env: this.environment(), encoding: 'utf8', cwd: this.dir, ...(input === undefined ? {} : { input }) });
  }

  /** Asks the API. */
  async api<T>(path: string, init: RequestInit = {}): Promise<T> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      ...init,
      headers: { authorization: `Bearer ${this.token}`, ...(init.headers as Record<string, string> | undefined) },
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  /** Submits a plain job; gives its first job. */
  async submit(name: string, steps: readonly Step[], secrets: Readonly<Record<string, string>> = {}): Promise<Job> {
    const file = join(this.dir, `${name.replace(/\W+/g, '-')}.json`);
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ name, steps: steps.map((step) => ({ ...step, shell: 'bash' })) }));
    const flags = Object.entries(secrets).flatMap(([key, value]) => ['--secret', `${key}=${value}`]);
    const answer = JSON.parse(this.cli(['submit', file, '--kind', 'job', '--output', 'json', ...flags])) as unknown;
    const run = runOf(answer);
    return until('the run has a job', async () => {
      const { jobs } = await this.api<{ jobs?: Job[] | null }>(`/runs/${run}`);
      return jobs?.[0];
    });
  }

  /** The job as it is now. */
  job(id: number): Promise<Job> {
    return this.api<Job>(`/jobs/${id}`);
  }

  /** Waits until a job has ended. */
  async ended(id: number, patience = 60_000): Promise<Job> {
    return until(`job ${id} ends`, async () => {
      const job = await this.job(id);
      return job.status === 'completed' ? job : undefined;
    }, patience);
  }

  /** Ends the server, in order, and leaves the runner alone. */
  async stopServer(): Promise<void> {
    await end(this.server);
    this.server = undefined;
  }

  /** Starts the server again, with the same state and address. */
  async startServer(): Promise<void> {
    this.server = await Fleet.serve(this.dir, this.port);
  }

  /** Keeps the state of now, for {@link Fleet.forget}. The server restarts. */
  async remember(): Promise<void> {
    await this.stopServer();
    cpSync(join(this.dir, 'data'), join(this.dir, 'kept'), { recursive: true });
    await this.startServer();
  }

  /** The server knows nothing any more of what came after {@link Fleet.remember}: its runs are gone, as if deleted. */
  async forget(): Promise<void> {
    await this.stopServer();
    rmSync(join(this.dir, 'data'), { recursive: true, force: true });
    cpSync(join(this.dir, 'kept'), join(this.dir, 'data'), { recursive: true });
    await this.startServer();
  }

  /** Ends everything and removes its directory. */
  async stop(): Promise<void> {
    await Promise.all(this.runners.map(end));
    await end(this.server);
    await this.preview?.close();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

function runOf(answer: unknown): number {
  const list = Array.isArray(answer) ? answer : [answer];
  const first = list[0] as { id?: number; run?: number | { id: number }; runs?: { id: number }[] } | undefined;
  const id = first?.runs?.[0]?.id ?? (typeof first?.run === 'object' ? first.run.id : first?.run) ?? first?.id;
  if (id === undefined) throw new Error(`no run in ${JSON.stringify(answer)}`);
  return id;
}

function collect(child: ChildProcess, file: string): void {
  writeFileSync(file, '');
  child.stderr?.on('data', (piece: Buffer) => writeFileSync(file, piece, { flag: 'a' }));
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const over = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await over;
  clearTimeout(timer);
}
