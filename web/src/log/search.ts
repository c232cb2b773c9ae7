/**
 * One search at the server: asks on until the whole log was searched, keeps which lines
 * match, and searches on when a log grows. A new search ends the one before. It knows
 * nothing of the page.
 */
import { asApiError } from '../api/problem';
import type { Matches, Query } from './wire';

/** Lines that are kept of one search; the others are counted only. */
const KEPT = 200_000;
const LIMIT = 5_000;

/** What a search knows. */
export interface Found {
  readonly query: Query;
  /** Lines that match, ascending. */
  readonly lines: readonly number[];
  /** How many match, kept or not. */
  readonly count: number;
  /** It still goes on. */
  readonly busy: boolean;
  /** Why it ended early, in words. */
  readonly failure: string | undefined;
}

/** Asks the server. */
export type Searcher = (query: Query, after: number | undefined, limit: number, signal: AbortSignal) => Promise<Matches>;

/** Searches, one at a time. */
export class Search {
  private readonly searcher: Searcher;
  private readonly changed: (found: Found | undefined) => void;
  private abort: AbortController | undefined;
  private found: Found | undefined;
  private next: number | undefined;
  private fresh = false;

  constructor(searcher: Searcher, changed: (found: Found | undefined) => void) {
    this.searcher = searcher;
    this.changed = changed;
  }

  /** Begins a search; an empty text ends it. */
  start(query: Query): void {
    this.abort?.abort();
    this.next = undefined;
    if (query.text === '') {
      this.tell(undefined);
      return;
    }
    this.tell({ query, lines: [], count: 0, busy: true, failure: undefined });
    void this.run();
  }

  /** The log has grown: searches what is new. */
  grown(): void {
    this.fresh = true;
    if (this.found === undefined || this.found.busy || this.found.failure !== undefined) return;
    this.tell({ ...this.found, busy: true });
    void this.run();
  }

  /** Ends it for good. */
  stop(): void {
    this.abort?.abort();
  }

  private async run(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    try {
      for (;;) {
        const before = this.found;
        if (before === undefined) return;
        this.fresh = false;
        const answer = await this.searcher(before.query, this.next, LIMIT, abort.signal);
        if (abort.signal.aborted) return;
        this.next = answer.next ?? answer.searched_to;
        const over = answer.complete || answer.next === undefined || answer.next === null;
        const room = Math.max(0, KEPT - before.lines.length);
        this.tell({
          query: before.query,
          lines: before.lines.concat(answer.matches.slice(0, room).map((m) => m.line)),
          count: before.count + answer.count,
          busy: !over || this.fresh,
          failure: undefined,
        });
        if (over && !this.fresh) return;
      }
    } catch (thrown) {
      if (abort.signal.aborted || this.found === undefined) return;
      this.tell({ ...this.found, busy: false, failure: asApiError(thrown).message });
    }
  }

  private tell(found: Found | undefined): void {
    this.found = found;
    this.changed(found);
  }
}

/** Which match comes next after (or before) a line: its index; -1 if there is none. */
export function nextMatch(lines: readonly number[], from: number, forward: boolean): number {
  if (lines.length === 0) return -1;
  let low = 0;
  let high = lines.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const line = lines[middle] ?? 0;
    if (forward ? line <= from : line < from) low = middle + 1;
    else high = middle;
  }
  if (forward) return low < lines.length ? low : 0;
  return low > 0 ? low - 1 : lines.length - 1;
}
