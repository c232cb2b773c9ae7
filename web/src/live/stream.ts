/**
 * A stream of server-sent events that comes back by itself: it opens, notices when it breaks or
 * falls silent, and opens again, at first soon and then more patiently, and at once when the
 * network is back or the page is looked at. It reads with `fetch`, because the browser's own
 * `EventSource` hides the status of an answer: a run that is gone, a session that has ended and a
 * network that is gone would look the same. What events mean is for those who follow.
 */
import { send, sessionEnded } from '../api/client';
import { ApiError, asApiError } from '../api/problem';
import { EventReader } from './sse';

/** What a stream is told and tells. */
export interface StreamHooks {
  /** The address, asked anew whenever the stream opens. */
  address(): string;
  /** An event with JSON in it. Answers whether it was the last one. */
  event(name: string, data: unknown): boolean;
  /** The stream is open. */
  opened(): void;
  /** The stream broke, and opens again at `retryAt` (milliseconds since the epoch). */
  lost(error: ApiError, retryAt: number): void;
  /** The server does not want to go on: the thing is gone, or the person may not see it. The stream has ended. */
  refused(error: ApiError): void;
}

/** A stream that is silent for longer is broken: the server says something every 15 seconds. */
const SILENCE_MS = 40_000;
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 10_000;
/** A stream that was open for less is not asked for again at once. */
const CALM_MS = 1_000;
const CLOSED = 'closed';
/** Answers after which asking again is of no use. */
const FINAL = new Set([401, 403, 404, 410]);

/** Reads until it is stopped, the last event came, or the server refuses. */
export class Stream {
  private readonly hooks: StreamHooks;
  private abort = new AbortController();
  private wait = FIRST_WAIT_MS;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;
  private over = false;
  private since = 0;

  constructor(hooks: StreamHooks) {
    this.hooks = hooks;
  }

  /** Opens the stream. */
  start(): void {
    addEventListener('online', this.hurry);
    addEventListener('offline', this.cutOff);
    document.addEventListener('visibilitychange', this.hurry);
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
      // The server closed the stream without a last event: it shuts down, or wants to be asked anew.
      throw new ApiError({ status: 0, code: CLOSED, message: 'The server ended the stream.' });
    } catch (thrown) {
      if (this.over) return;
      this.failed(asApiError(abort.signal.aborted ? abort.signal.reason : thrown));
    } finally {
      clearTimeout(this.silence);
      abort.abort();
    }
  }

  private async read(abort: AbortController): Promise<void> {
    this.listen(abort);
    const response = await send(this.hooks.address(), {
      headers: { accept: 'text/event-stream' },
      cache: 'no-store',
      signal: abort.signal,
    });
    if (response.body === null) return;
    this.wait = FIRST_WAIT_MS;
    this.since = Date.now();
    this.hooks.opened();
    const body = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    for (;;) {
      const { done, value } = await body.read();
      if (done || this.over) return;
      this.listen(abort);
      for (const event of events.push(value)) {
        const data: unknown = JSON.parse(event.data);
        if (event.event === 'error') throw problem(data);
        if (!this.hooks.event(event.event, data)) continue;
        this.stop();
        return;
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
    if (FINAL.has(error.status)) {
      this.stop();
      this.hooks.refused(error);
      return;
    }
    // A stream that worked and was closed in order is asked for again before anybody is alarmed.
    if (error.code === CLOSED && Date.now() - this.since > CALM_MS) {
      this.since = Date.now();
      void this.open();
      return;
    }
    const wait = this.wait * (0.75 + Math.random() / 2);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.open();
    }, wait);
    this.hooks.lost(error, Date.now() + wait);
  }
}

/** What an event of the server says that went wrong. */
function problem(data: unknown): ApiError {
  const { status, code, detail } = (data ?? {}) as { status?: unknown; code?: unknown; detail?: unknown };
  const error = new ApiError({
    status: typeof status === 'number' ? status : 500,
    code: typeof code === 'string' ? code : 'stream',
    message: typeof detail === 'string' ? detail : 'The stream failed.',
  });
  if (error.status === 401) sessionEnded();
  return error;
}
