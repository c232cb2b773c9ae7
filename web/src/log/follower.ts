/**
 * Follows a log while it grows, and comes back by itself: it opens the stream, notices
 * when it breaks or falls silent, and opens it again behind the last line that arrived. It
 * says at every moment whether what it delivered is live, and never calls a broken stream
 * live.
 */
import { ApiError, asApiError, errorOf } from '../api/problem';
import { EventReader } from './sse';
import { fromOne, type LinePage } from './wire';

/** Whether what arrived is the present. */
export type Live =
  | { readonly kind: 'connecting' }
  | { readonly kind: 'live' }
  /** Broken; the next try is at `retryAt` (milliseconds since the epoch). */
  | { readonly kind: 'lost'; readonly since: number; readonly retryAt: number; readonly message: string }
  /** The log is complete. */
  | { readonly kind: 'ended' }
  /** The log no longer exists. */
  | { readonly kind: 'gone'; readonly message: string }
  /** The server does not show it to this user. */
  | { readonly kind: 'refused'; readonly message: string };

/** What a follower is told and tells. */
export interface FollowerHooks {
  /** The address from which to go on. */
  address(): string;
  /** Lines arrived. */
  lines(page: LinePage): void;
  /** The state changed. */
  state(live: Live): void;
}

/** A stream that is silent for longer is broken: the server says something every 15 seconds. */
const SILENCE_MS = 40_000;
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 10_000;

/** Follows until it is stopped or the log ends. */
export class Follower {
  private readonly hooks: FollowerHooks;
  private abort = new AbortController();
  private wait = FIRST_WAIT_MS;
  private since: number | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;
  private over = false;

  constructor(hooks: FollowerHooks) {
    this.hooks = hooks;
  }

  /** Opens the stream. */
  start(): void {
    addEventListener('online', this.hurry);
    addEventListener('offline', this.cutOff);
    document.addEventListener('visibilitychange', this.hurry);
    this.hooks.state({ kind: 'connecting' });
    void this.open();
  }

  /** Ends for good. */
  stop(): void {
    this.over = true;
    this.abort.abort();
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    removeEventListener('online', this.hurry);
    removeEventListener('offline', this.cutOff);
    document.removeEventListener('visibilitychange', this.hurry);
  }

  /** Tries at once, if it waits. */
  readonly hurry = (): void => {
    if (this.over || this.timer === undefined || document.visibilityState === 'hidden') return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.wait = FIRST_WAIT_MS;
    void this.open();
  };

  private readonly cutOff = (): void => {
    this.abort.abort(new ApiError({ status: 0, code: 'offline', message: 'This computer is not connected.' }));
  };

  private async open(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    try {
      await this.read(abort);
      // The server closed the stream without an end: it shuts down.
      throw new ApiError({ status: 0, code: 'closed', message: 'The server ended the stream.' });
    } catch (thrown) {
      if (this.over) return;
      const reason: unknown = abort.signal.aborted ? abort.signal.reason : thrown;
      this.failed(asApiError(reason));
    } finally {
      clearTimeout(this.silence);
      abort.abort();
    }
  }

  private async read(abort: AbortController): Promise<void> {
    this.listen(abort);
    const response = await fetch(this.hooks.address(), {
      headers: { accept: 'text/event-stream' },
      credentials: 'same-origin',
      cache: 'no-store',
      signal: abort.signal,
    });
    if (!response.ok || response.body === null) throw await errorOf(response);
    this.wait = FIRST_WAIT_MS;
    this.since = undefined;
    this.hooks.state({ kind: 'live' });
    const body = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    for (;;) {
      const { done, value } = await body.read();
      if (done || this.over) return;
      this.listen(abort);
      for (const event of events.push(value)) {
        const data: unknown = JSON.parse(event.data);
        if (event.event === 'lines') {
          this.hooks.lines(fromOne(data as LinePage));
        } else if (event.event === 'end') {
          this.stop();
          this.hooks.state({ kind: 'ended' });
          return;
        } else if (event.event === 'error') {
          throw problem(data);
        }
      }
    }
  }

  private listen(abort: AbortController): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => {
      abort.abort(new ApiError({ status: 0, code: 'silent', message: 'The server has fallen silent.' }));
    }, SILENCE_MS);
  }

  private failed(error: ApiError): void {
    if (error.status === 404 || error.status === 410) {
      this.stop();
      this.hooks.state({ kind: 'gone', message: error.message });
    } else if (error.status === 401 || error.status === 403) {
      this.stop();
      this.hooks.state({ kind: 'refused', message: error.message });
    } else {
      this.since ??= Date.now();
      const wait = this.wait * (0.75 + Math.random() / 2);
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
      this.timer = setTimeout(() => {
        this.timer = undefined;
        void this.open();
      }, wait);
      this.hooks.state({ kind: 'lost', since: this.since, retryAt: Date.now() + wait, message: error.message });
    }
  }
}

function problem(data: unknown): ApiError {
  const { status, code, detail } = (data ?? {}) as { status?: unknown; code?: unknown; detail?: unknown };
  return new ApiError({
    status: typeof status === 'number' ? status : 500,
    code: typeof code === 'string' ? code : 'stream',
    message: typeof detail === 'string' ? detail : 'The stream failed.',
  });
}
