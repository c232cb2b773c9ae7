/**
 * The stream of what changes in lists, one for the whole page. The shell opens
 * it; whoever shows a list subscribes. A subscriber is told `reset` when changes
 * were missed and it has to read anew.
 */
import { useEffect, useRef } from 'react';
import type { ListChange } from '../api/types';
import { follow } from './events';

const subscribers = new Set<(change: ListChange) => void>();
const KINDS = ['run', 'run_deleted', 'runner', 'runner_deleted', 'approvals', 'reset'] as const;

function tell(change: unknown): void {
  for (const subscriber of subscribers) subscriber(change as ListChange);
}

/** Follows the stream until the returned function is called; tells when it was interrupted and is back. */
export function openFeed(reopened: () => void): () => void {
  return follow('/api/v1/events', { on: Object.fromEntries(KINDS.map((kind) => [kind, tell])), reopened });
}

/** Tells changes to the calling component while it is shown. */
export function useFeed(subscriber: (change: ListChange) => void): void {
  const latest = useRef(subscriber);
  useEffect(() => {
    latest.current = subscriber;
  });
  useEffect(() => {
    const tellLatest = (change: ListChange): void => latest.current(change);
    subscribers.add(tellLatest);
    return () => {
      subscribers.delete(tellLatest);
    };
  }, []);
}
