/**
 * What the log endpoints say, and the requests that ask them. On the wire, in addresses and
 * for people lines count from 1; in this room they count from 0, and the step from one to the
 * other is made here and nowhere else. It knows nothing of the page.
 */
import { send } from '../api/client';

/** Where a line came from. */
export type StreamName = 'stdout' | 'stderr' | 'runner';

/** One line. */
export interface LogLine {
  readonly n: number;
  /** When the runner read it, in RFC 3339. */
  readonly at: string;
  readonly step: number;
  readonly stream: StreamName;
  readonly text: string;
  /** `text` is only the beginning. */
  readonly cut?: boolean;
  /** Bytes of the whole line, if it is cut. */
  readonly bytes?: number | null;
  /** Where it begins in the log, in bytes, if it is cut. */
  readonly offset?: number | null;
}

/** Some lines that follow each other. */
export interface LinePage {
  /** The attempt; `null` while there is none. */
  readonly attempt?: number | null;
  /** Lines of the log now. */
  readonly total: number;
  /** Nothing will come after them. */
  readonly complete: boolean;
  readonly from: number;
  readonly lines: readonly LogLine[];
  /** What stands behind the last line break of a log that grows. */
  readonly partial?: LogLine | null;
}

/** The lines of one step. */
export interface OutlineStep {
  readonly index: number;
  readonly first_line: number;
  readonly last_line: number;
}

/** The lines of one group: `from` carries the title, `to` is its last line. */
export interface OutlineGroup {
  readonly from: number;
  /** `null` while it is open. */
  readonly to: number | null;
  readonly title: string;
  readonly step: number;
}

/** A line that is an error. */
export interface OutlineError {
  readonly line: number;
  readonly step: number;
  readonly text: string;
}

/** How a log is divided. */
export interface Outline {
  readonly total_lines: number;
  readonly complete: boolean;
  readonly steps: readonly OutlineStep[];
  readonly groups: readonly OutlineGroup[];
  readonly first_error: number | null;
  readonly errors: readonly OutlineError[];
}

/** One line that matches, and where in its text. */
export interface Match {
  readonly line: number;
  readonly step: number;
  readonly at: readonly (readonly [number, number])[];
}

/** What a search found so far. */
export interface Matches {
  readonly matches: readonly Match[];
  readonly count: number;
  readonly complete: boolean;
  /** Every line up to this one was searched, counted from 1. */
  readonly searched_to: number;
}

/** What is searched for. */
export interface Query {
  readonly text: string;
  readonly regex: boolean;
  readonly matchCase: boolean;
}

/** The log of one attempt of one job, as the server gives it. */
export class LogSource {
  private readonly base: string;
  private readonly attempt: number | undefined;

  constructor(job: number, attempt?: number) {
    this.base = `/api/v1/jobs/${job}/log`;
    this.attempt = attempt;
  }

  /** Lines from `from` on, at most `count`. */
  async lines(from: number, count: number, signal?: AbortSignal): Promise<LinePage> {
    return fromOne(await this.get<LinePage>('/lines', { from: from + 1, count }, signal));
  }

  /** The last `count` lines. */
  async tail(count: number, signal?: AbortSignal): Promise<LinePage> {
    return fromOne(await this.get<LinePage>('/lines', { tail: count }, signal));
  }

  /** The whole text of a line that was cut. */
  async whole(line: LogLine): Promise<string> {
    const address = this.address('', { offset: line.offset ?? 0, limit: line.bytes ?? 0 });
    const response = await send(address, { headers: { accept: 'application/octet-stream' } });
    return new TextDecoder().decode(await response.arrayBuffer()).replace(/\r?\n?$/, '');
  }

  /** Steps, groups and errors. */
  async outline(signal?: AbortSignal): Promise<Outline> {
    const outline = await this.get<Outline>('/outline', {}, signal);
    return {
      ...outline,
      steps: outline.steps.map((s) => ({ ...s, first_line: s.first_line - 1, last_line: s.last_line - 1 })),
      groups: outline.groups.map((g) => ({ ...g, from: g.from - 1, to: typeof g.to === 'number' ? g.to - 1 : null })),
      first_error: typeof outline.first_error === 'number' ? outline.first_error - 1 : null,
      errors: outline.errors.map((e) => ({ ...e, line: e.line - 1 })),
    };
  }

  /** Matches behind a line (counted from 1: 0 is before the first), at most `limit`. */
  async search(query: Query, after: number, limit: number, signal?: AbortSignal): Promise<Matches> {
    const found = await this.get<Matches>(
      '/search',
      {
        q: query.text,
        regex: query.regex ? 'true' : undefined,
        case: query.matchCase ? 'true' : undefined,
        after,
        limit,
      },
      signal,
    );
    return { ...found, matches: found.matches.map((m) => ({ ...m, line: m.line - 1 })) };
  }

  /** The address under which lines from `from` on are followed. */
  followAddress(from: number): string {
    return this.address('/follow', { from_line: from + 1, skip: 'true' });
  }

  /** The address of the bytes. */
  rawAddress(): string {
    return this.address('', {});
  }

  private address(path: string, query: Readonly<Record<string, string | number | undefined>>): string {
    const parts = new URLSearchParams();
    for (const [key, value] of Object.entries({ ...query, attempt: this.attempt })) {
      if (value !== undefined) parts.set(key, String(value));
    }
    const text = parts.toString();
    return `${this.base}${path}${text === '' ? '' : `?${text}`}`;
  }

  private async get<T>(
    path: string,
    query: Readonly<Record<string, string | number | undefined>>,
    signal?: AbortSignal,
  ): Promise<T> {
    const response = await send(this.address(path, query), {
      headers: { accept: 'application/json' },
      ...(signal === undefined ? {} : { signal }),
    });
    return (await response.json()) as T;
  }
}

/** A page of the wire, counted from 0. */
export function fromOne(page: LinePage): LinePage {
  const shift = (line: LogLine): LogLine => ({ ...line, n: line.n - 1 });
  return {
    ...page,
    from: page.from - 1,
    lines: page.lines.map(shift),
    partial: page.partial ? shift(page.partial) : null,
  };
}
