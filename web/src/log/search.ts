/**
 * One search at the server: asks on until the whole log was searched, keeps the first lines
 * that match and counts the others, and searches on when a log grows. A new search ends the
 * one before. It knows nothing of the page.
 */
import { asApiError } from '../api/problem';
import type { Matches, Query } from './wire';

/** Matches in one answer. */
const LIMIT = 1_000;

/** What a search knows. */
export interface Found {
  readonly query: Query;
  /** Lines that match, ascending, without a gap from the first one on. */
  readonly lines: readonly number[];
  /** How many match, listed or not. */
  readonly count: number;
  /** It still goes on. */
  readonly busy: boolean;
  /** Why it ended early, in words. */
  readonly failure: string | undefined;
}

/** Asks the server for matches behind a line (of the wire). */
export type Searcher = (query: Query, after: number, limit: number, signal: AbortSignal) => Promise<Matches>;

/** Searches, one at a time. */
export class Search {
  private readonly searcher: Searcher;
  private readonly changed: (found: Found | undefined) => void;
  private abort = new AbortController();
  private found: Found | undefined;
  /** Every line up to this one (of the wire) is counted. */
  private counted = 0;
  private grew = false;

  constructor(searcher: Searcher, changed: (found: Found | undefined) => void) {
    this.searcher = searcher;
    this.changed = changed;
  }

  /** Begins a search; an empty text ends it. */
  start(query: Query): void {
    this.abort.abort();
    this.abort = new AbortController();
    this.counted = 0;
    if (query.text === '') {
      this.tell(undefined);
      return;
    }
    this.tell({ query, lines: [], count: 0, busy: true, failure: undefined });
    void this.run(this.abort.signal);
  }

  /** The log has grown: searches what is new. */
  grown(): void {
    this.grew = true;
    if (this.found === undefined || this.found.busy || this.found.failure !== undefined) return;
    this.tell({ ...this.found, busy: true });
    void this.run(this.abort.signal);
  }

  /** Lists further matches behind the last one that is listed; `false` if there are none. */
  async more(): Promise<boolean> {
    const { signal } = this.abort;
    const before = this.found;
    const last = before?.lines.at(-1);
    if (before === undefined || last === undefined || before.lines.length >= before.count) return false;
    const answer = await this.searcher(before.query, last + 1, LIMIT, signal);
    const now = this.found;
    if (signal.aborted || now === undefined || now.lines.at(-1) !== last) return false;
    const lines = now.lines.concat(answer.matches.map((m) => m.line));
    this.tell({ ...now, lines, count: Math.max(now.count, lines.length) });
    return answer.matches.length > 0;
  }

  /** Ends it for good. */
  stop(): void {
    this.abort.abort();
  }

  private async run(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        const before = this.found;
        if (before === undefined) return;
        this.grew = false;
        // Behind a gap only the number is of use.
        const listed = before.lines.length === before.count;
        const answer = await this.searcher(before.query, this.counted, listed ? LIMIT : 1, signal);
        if (signal.aborted) return;
        this.counted = answer.searched_to;
        const over = answer.complete && !this.grew;
        const now = this.found ?? before;
        this.tell({
          query: before.query,
          lines: listed && now.lines.length === before.lines.length ? now.lines.concat(answer.matches.map((m) => m.line)) : now.lines,
          count: before.count + answer.count,
          busy: !over,
          failure: undefined,
        });
        if (over) return;
      }
    } catch (thrown) {
      if (signal.aborted || this.found === undefined) return;
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
