/**
 * Whether what the page shows is live. Streams and requests report here; the
 * banner of the shell reads it. Nothing else decides what counts as connected.
 */
import { useSyncExternalStore } from 'react';

/** State of the connection. */
export interface Connection {
  /** Whether the server answers. */
  readonly online: boolean;
  /** The last moment at which what is shown was true, milliseconds since the epoch. */
  readonly knownAt: number;
}

let state: Connection = { online: true, knownAt: Date.now() };
const listeners = new Set<() => void>();
const broken = new Set<string>();

function publish(next: Connection): void {
  const quiet = next.online === state.online && next.online;
  state = next;
  if (!quiet) for (const listener of listeners) listener();
}

/** Something of the server arrived through `source` (a name of the caller's). */
export function heard(source: string): void {
  broken.delete(source);
  if (broken.size === 0) publish({ online: true, knownAt: Date.now() });
}

/** `source` is cut off and tries again. */
export function lost(source: string): void {
  broken.add(source);
  if (state.online) publish({ online: false, knownAt: state.knownAt });
}

/** `source` is no longer of interest. */
export function forgotten(source: string): void {
  if (broken.delete(source) && broken.size === 0) publish({ online: true, knownAt: Date.now() });
}

/** The connection as it is now; renders again when it is lost or found. */
export function useConnection(): Connection {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => state,
  );
}
