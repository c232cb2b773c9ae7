/**
 * Keeps the lines that were looked at lately, page by page, and fetches what is missing.
 * Memory has an upper bound whatever the length of the log; requests for lines that nobody
 * looks at any more are given up. It knows nothing of the page that shows them.
 */
import { PLAIN, type Style, styleAfter } from './ansi';
import type { LinePage, LogLine } from './wire';

/** Lines of one page. */
export const PAGE = 200;

/** Pages in one request. */
const RUN = 4;

/** Requests at the same time. */
const REQUESTS = 3;

/** Bounds and times. */
export interface CacheOptions {
  /** Characters of text kept at most (two bytes each); what is on screen is kept in any case. */
  readonly budget: number;
  /** Milliseconds after a failure until the next try. */
  readonly retry: number;
}

/** Fetches lines. */
export type Fetcher = (from: number, count: number, signal: AbortSignal) => Promise<LinePage>;

interface Page {
  readonly lines: (LogLine | undefined)[];
  /** The style with which each line begins. */
  readonly styles: Style[];
  /** Style behind the last line that is known without a gap. */
  end: Style;
  size: number;
  known: number;
  used: number;
}

interface Request {
  readonly from: number;
  readonly first: number;
  readonly last: number;
  readonly abort: AbortController;
}

/** A line with the style in which it begins. */
export interface StyledLine {
  readonly line: LogLine;
  readonly style: Style;
}

/** The cache. Listeners are told whenever lines or the failure change. */
export class LineCache {
  /** The failure of the last request; `undefined` after a success. */
  failure: Error | undefined;
  /** Characters that are kept. */
  size = 0;
  private readonly pages = new Map<number, Page>();
  private readonly requests = new Set<Request>();
  private readonly listeners = new Set<() => void>();
  private readonly fetcher: Fetcher;
  private readonly options: CacheOptions;
  private wanted: readonly [number, number] = [0, -1];
  private clock = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private closed = false;
  private total = 0;

  constructor(fetcher: Fetcher, options: CacheOptions = { budget: 12 << 20, retry: 1000 }) {
    this.fetcher = fetcher;
    this.options = options;
  }

  /** Calls `listener` after every change, until the function that is returned is called. */
  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** A line, if it is here. */
  get(n: number): StyledLine | undefined {
    const page = this.pages.get(Math.floor(n / PAGE));
    const line = page?.lines[n % PAGE];
    return page === undefined || line === undefined ? undefined : { line, style: page.styles[n % PAGE] ?? PLAIN };
  }

  /** How long the log is now: lines behind it are not asked for. */
  setTotal(total: number): void {
    if (total < this.total) {
      this.clear();
    }
    this.total = total;
  }

  /** Asks for lines from `from` to `to` (included) and gives up all others that were asked for. */
  want(from: number, to: number): void {
    const last = Math.min(to, this.total - 1);
    this.wanted = [Math.floor(Math.max(0, from) / PAGE), last < 0 ? -1 : Math.floor(last / PAGE)];
    for (const request of [...this.requests]) {
      if (request.last < this.wanted[0] || request.first > this.wanted[1]) {
        this.requests.delete(request);
        request.abort.abort();
      }
    }
    this.pump();
  }

  /** Takes lines that came without being asked for. */
  put(lines: readonly LogLine[]): void {
    if (lines.length === 0) return;
    const touched = new Set<number>();
    for (const line of lines) {
      touched.add(Math.floor(line.n / PAGE));
      this.set(line);
    }
    for (const index of [...touched].sort((a, b) => a - b)) {
      this.restyle(index);
    }
    this.evict();
    this.tell();
  }

  /** Replaces one line, for example with more of its text. */
  replace(line: LogLine): void {
    this.put([line]);
  }

  /** Forgets everything. */
  clear(): void {
    this.pages.clear();
    this.size = 0;
    this.total = 0;
    for (const request of this.requests) {
      request.abort.abort();
    }
    this.requests.clear();
    this.tell();
  }

  /** Tries again now what failed. */
  retryNow(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.pump();
  }

  /** Ends all requests for good. */
  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    for (const request of this.requests) {
      request.abort.abort();
    }
    this.requests.clear();
    this.listeners.clear();
  }

  private set(line: LogLine): void {
    const index = Math.floor(line.n / PAGE);
    let page = this.pages.get(index);
    if (page === undefined) {
      page = { lines: [], styles: [], end: PLAIN, size: 0, known: 0, used: 0 };
      this.pages.set(index, page);
    }
    const slot = line.n % PAGE;
    const before = page.lines[slot];
    const change = cost(line) - (before === undefined ? 0 : cost(before));
    page.lines[slot] = line;
    page.size += change;
    page.known += before === undefined ? 1 : 0;
    page.used = this.clock += 1;
    this.size += change;
  }

  /** Works out again with which style the lines of a page begin, and of those behind it. */
  private restyle(index: number): void {
    for (let i = index; ; i += 1) {
      const page = this.pages.get(i);
      if (page === undefined) return;
      const before = this.pages.get(i - 1);
      let style = before?.lines[PAGE - 1] === undefined ? PLAIN : before.end;
      let step = before?.lines[PAGE - 1]?.step;
      const first = page.styles[0];
      for (let slot = 0; slot < page.lines.length; slot += 1) {
        const line = page.lines[slot];
        if (line === undefined) {
          style = PLAIN;
          continue;
        }
        // A step begins as a new terminal, and what the runner says has no colours of others.
        const begin: Style = step !== line.step || line.stream === 'runner' ? PLAIN : style;
        step = line.step;
        page.styles[slot] = begin;
        style = styleAfter(line.text, begin);
      }
      const unchanged = page.end === style && first === page.styles[0];
      page.end = style;
      if (unchanged || page.lines[PAGE - 1] === undefined) return;
    }
  }

  private missing(index: number): boolean {
    const expected = Math.min(PAGE, this.total - index * PAGE);
    return expected > 0 && (this.pages.get(index)?.known ?? 0) < expected;
  }

  /** The first line of a page that is missing; answers are short if lines are long. */
  private gap(index: number): number {
    const lines = this.pages.get(index)?.lines;
    if (lines === undefined) return 0;
    const gap = lines.findIndex((line) => line === undefined);
    return gap < 0 ? lines.length : gap;
  }

  private asked(index: number): boolean {
    for (const request of this.requests) {
      if (index >= request.first && index <= request.last) return true;
    }
    return false;
  }

  private pump(): void {
    if (this.closed || this.timer !== undefined) return;
    const [first, last] = this.wanted;
    for (let index = first; index <= last && this.requests.size < REQUESTS; index += 1) {
      const page = this.pages.get(index);
      if (page !== undefined) {
        page.used = this.clock += 1;
      }
      if (!this.missing(index) || this.asked(index)) continue;
      let end = index;
      while (end < last && end - index + 1 < RUN && this.missing(end + 1) && !this.asked(end + 1)) {
        end += 1;
      }
      const gap = this.gap(index);
      void this.fetch({ from: index * PAGE + gap, first: index, last: end, abort: new AbortController() });
      index = end;
    }
  }

  private async fetch(request: Request): Promise<void> {
    this.requests.add(request);
    const from = request.from;
    const count = Math.min((request.last + 1) * PAGE, this.total) - from;
    try {
      const page = await this.fetcher(from, count, request.abort.signal);
      if (!this.requests.delete(request)) return;
      this.failure = undefined;
      if (page.lines.length === 0) {
        throw new Error('the log has become shorter');
      }
      this.put(page.lines);
      this.pump();
    } catch (error) {
      const current = this.requests.delete(request) || !request.abort.signal.aborted;
      if (this.closed || request.abort.signal.aborted || !current) return;
      this.failure = error instanceof Error ? error : new Error(String(error));
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        this.timer = undefined;
        this.pump();
      }, this.options.retry);
      this.tell();
    }
  }

  /** Forgets pages that were not used for the longest time, until the rest fits. */
  private evict(): void {
    if (this.size <= this.options.budget) return;
    const oldest = [...this.pages].sort((a, b) => a[1].used - b[1].used);
    for (const [index, page] of oldest) {
      if (this.size <= this.options.budget) return;
      if (index >= this.wanted[0] - 1 && index <= this.wanted[1] + 1) continue;
      this.pages.delete(index);
      this.size -= page.size;
    }
  }

  private tell(): void {
    for (const listener of [...this.listeners]) {
      listener();
    }
  }
}

/** Characters that a line costs: its text, and about what the object around it takes. */
function cost(line: LogLine): number {
  return line.text.length + 64;
}
