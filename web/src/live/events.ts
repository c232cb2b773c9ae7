/**
 * Server-sent events that come back by themselves: after an error the stream is
 * opened anew, at first soon and then more patiently, and at once when the
 * browser says that the network is back or the page is looked at again.
 */
import { forgotten, heard, lost } from './connection';

/** What a follower does with events. */
export interface Follower {
  /** Events by name; the data is parsed JSON. */
  readonly on: Readonly<Record<string, (data: unknown) => void>>;
  /** Called when the stream opened, also when it opened again. */
  readonly opened?: () => void;
  /** Names of events after which the stream is over for good. */
  readonly last?: readonly string[];
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;
let count = 0;

/** Follows the stream at `address` until the returned function is called. */
export function follow(address: string, follower: Follower): () => void {
  const source = `events-${++count}`;
  let stream: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let wait = FIRST_WAIT_MS;
  let over = false;

  const stop = (): void => {
    over = true;
    stream?.close();
    clearTimeout(timer);
    removeEventListener('online', hurry);
    document.removeEventListener('visibilitychange', hurry);
    forgotten(source);
  };

  const open = (): void => {
    clearTimeout(timer);
    stream?.close();
    const current = new EventSource(address);
    stream = current;
    current.onopen = () => {
      wait = FIRST_WAIT_MS;
      heard(source);
      follower.opened?.();
    };
    current.onerror = () => {
      if (over || stream !== current) return;
      current.close();
      lost(source);
      timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST_WAIT_MS);
    };
    for (const [name, handle] of Object.entries(follower.on)) {
      current.addEventListener(name, (event) => {
        heard(source);
        // A fault event of the server has the name of the browser's own, which has no data.
        if (!(event instanceof MessageEvent) || typeof event.data !== 'string') return;
        handle(JSON.parse(event.data));
        if (follower.last?.includes(name)) stop();
      });
    }
  };

  const hurry = (): void => {
    if (!over && document.visibilityState === 'visible' && stream?.readyState === EventSource.CLOSED) {
      wait = FIRST_WAIT_MS;
      open();
    }
  };

  addEventListener('online', hurry);
  document.addEventListener('visibilitychange', hurry);
  open();
  return stop;
}
