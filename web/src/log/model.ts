/**
 * Everything known of one log while somebody looks at it: how long it is, how it is
 * divided, which lines are here, and whether that is the present. It fetches and follows;
 * it knows nothing of rows, folds and pixels.
 */
import { asApiError, type ApiError } from '../api/problem';
import { forgotten, heard, lost } from '../live/connection';
import { Follower, type Live } from './follower';
import { LineCache, PAGE } from './line-cache';
import { EMPTY, extend } from './outline';
import type { LinePage, LogLine, LogSource, Outline } from './wire';

/** What is known at one moment. */
export interface Snapshot {
  /** `false` until the first answer. */
  readonly ready: boolean;
  /** Lines that can be shown, with one that is still being written. */
  readonly total: number;
  readonly complete: boolean;
  readonly outline: Outline;
  readonly live: Live;
  /** Why nothing can be shown; only before the first answer. */
  readonly failure: ApiError | undefined;
  /** Grows whenever lines were added or replaced. */
  readonly version: number;
  /** When the first line was written, milliseconds since the epoch. */
  readonly began: number | undefined;
}

const OUTLINE_EVERY_MS = 2_500;
const RETRY_MS = 1_500;
let count = 0;

/** One log. */
export class LogModel {
  /** The lines. */
  readonly cache: LineCache;
  private readonly source: LogSource;
  private readonly listeners = new Set<() => void>();
  private readonly abort = new AbortController();
  private readonly name = `log-${++count}`;
  private follower: Follower | undefined;
  private frame: number | undefined;
  private outlineTimer: ReturnType<typeof setTimeout> | undefined;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private lines = 0;
  private state: Snapshot = {
    ready: false,
    total: 0,
    complete: false,
    outline: EMPTY,
    live: { kind: 'connecting' },
    failure: undefined,
    version: 0,
    began: undefined,
  };

  constructor(source: LogSource) {
    this.source = source;
    this.cache = new LineCache((from, lines, signal) => source.lines(from, lines, signal));
    this.cache.subscribe(() => {
      if (this.cache.failure !== undefined && asApiError(this.cache.failure).status === 404) this.gone();
      this.changed({ version: this.state.version + 1 });
    });
  }

  /** Begins: at line `at` (from 0), or at the end. */
  start(at: number | undefined): void {
    void this.open(at);
  }

  /** Ends everything that is under way. */
  stop(): void {
    this.abort.abort();
    this.follower?.stop();
    this.cache.close();
    clearTimeout(this.outlineTimer);
    clearTimeout(this.retryTimer);
    if (this.frame !== undefined) cancelAnimationFrame(this.frame);
    this.listeners.clear();
    forgotten(this.name);
  }

  /** Calls `listener` after changes, at most once a frame. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** What is known now. */
  readonly snapshot = (): Snapshot => this.state;

  /** Tries again at once what failed. */
  retry(): void {
    this.follower?.hurry();
    this.cache.retryNow();
  }

  private async open(at: number | undefined): Promise<void> {
    const signal = this.abort.signal;
    try {
      const [page, outline] = await Promise.all([
        at === undefined
          ? this.source.tail(PAGE, signal)
          : this.source.lines(Math.max(0, Math.floor(at / PAGE) * PAGE), PAGE, signal),
        this.source.outline(signal),
      ]);
      this.changed({ ready: true, outline, failure: undefined, live: { kind: page.complete ? 'ended' : 'connecting' } });
      this.take(page);
      heard(this.name);
      void this.beginning();
      if (!page.complete) this.follow();
    } catch (thrown) {
      if (signal.aborted) return;
      const failure = asApiError(thrown);
      this.changed({ failure });
      if (failure.status === 0 || failure.status >= 500 || failure.status === 429) {
        lost(this.name);
        this.retryTimer = setTimeout(() => void this.open(at), RETRY_MS);
      }
    }
  }

  private follow(): void {
    this.follower = new Follower({
      address: () => this.source.followAddress(this.lines),
      lines: (page) => this.take(page),
      state: (live) => this.live(live),
    });
    this.follower.start();
  }

  private live(live: Live): void {
    if (live.kind === 'lost') lost(this.name);
    else heard(this.name);
    this.changed({ live, ...(live.kind === 'ended' ? { complete: true } : {}) });
    if (live.kind === 'ended') void this.renewOutline();
    if (live.kind === 'live') this.cache.retryNow();
  }

  /** Lines arrived, asked for or not. */
  private take(page: LinePage): void {
    this.lines = Math.max(this.lines, page.total);
    const total = this.lines + (page.partial ? 1 : 0);
    this.cache.setTotal(total);
    const lines: readonly LogLine[] = page.partial ? [...page.lines, page.partial] : page.lines;
    this.cache.put(lines);
    const outline = extend(this.state.outline, page.lines);
    this.changed({ total, complete: page.complete, outline });
    const first = page.lines.at(0);
    if (first?.n === 0) this.changed({ began: Date.parse(first.at) });
    if (outline !== this.state.outline || page.lines.length > 0) this.outlineLater();
  }

  private async beginning(): Promise<void> {
    if (this.state.began !== undefined || this.lines === 0) return;
    try {
      const page = await this.source.lines(0, 1, this.abort.signal);
      const first = page.lines.at(0);
      if (first !== undefined) this.changed({ began: Date.parse(first.at) });
    } catch {
      // Times are then shown as they are.
    }
  }

  private outlineLater(): void {
    if (this.outlineTimer !== undefined || this.state.complete) return;
    this.outlineTimer = setTimeout(() => {
      this.outlineTimer = undefined;
      void this.renewOutline();
    }, OUTLINE_EVERY_MS);
  }

  private async renewOutline(): Promise<void> {
    try {
      const outline = await this.source.outline(this.abort.signal);
      // Lines that arrived meanwhile are not in it: what they showed stays.
      if (outline.total_lines >= this.state.outline.total_lines) this.changed({ outline });
      else this.outlineLater();
    } catch {
      // The next lines ask again.
    }
  }

  private gone(): void {
    this.follower?.stop();
    this.state = { ...this.state, live: { kind: 'gone', message: 'This log no longer exists.' } };
  }

  private changed(change: Partial<Snapshot>): void {
    this.state = { ...this.state, ...change };
    // A page that nobody sees has no frames; it is told when it is seen again.
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      for (const listener of [...this.listeners]) listener();
    });
  }
}
