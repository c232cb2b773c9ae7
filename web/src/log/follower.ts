/**
 * Follows a log while it grows: the lines of its stream, and at every moment whether what it
 * delivered is live. A broken stream is never called live.
 */
import type { ApiError } from '../api/problem';
import { Stream } from '../live/stream';
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

/** Follows until it is stopped or the log ends. */
export class Follower {
  private readonly hooks: FollowerHooks;
  private readonly stream: Stream;
  private since: number | undefined;

  constructor(hooks: FollowerHooks) {
    this.hooks = hooks;
    this.stream = new Stream({
      address: () => hooks.address(),
      opened: () => {
        this.since = undefined;
        hooks.state({ kind: 'live' });
      },
      event: (name, data) => this.event(name, data),
      lost: (error, retryAt) => {
        this.since ??= Date.now();
        hooks.state({ kind: 'lost', since: this.since, retryAt, message: error.message });
      },
      refused: (error) => hooks.state(refusal(error)),
    });
  }

  /** Opens the stream. */
  start(): void {
    this.hooks.state({ kind: 'connecting' });
    this.stream.start();
  }

  /** Ends for good. */
  stop(): void {
    this.stream.stop();
  }

  /** Tries at once, if it waits. */
  hurry(): void {
    this.stream.hurry();
  }

  private event(name: string, data: unknown): boolean {
    if (name === 'lines') this.hooks.lines(fromOne(data as LinePage));
    if (name !== 'end') return false;
    this.hooks.state({ kind: 'ended' });
    return true;
  }
}

function refusal(error: ApiError): Live {
  const gone = error.status === 404 || error.status === 410;
  return { kind: gone ? 'gone' : 'refused', message: error.message };
}
