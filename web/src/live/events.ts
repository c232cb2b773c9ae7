/** Following a stream for what is shown: events by name, and a word to the banner when it breaks. */
import type { ApiError } from '../api/problem';
import { forgotten, heard, lost } from './connection';
import { Stream } from './stream';

/** What a follower does with events. */
export interface Follower {
  /** Events by name; the data is parsed JSON. */
  readonly on: Readonly<Record<string, (data: unknown) => void>>;
  /** Called when the stream opened again after it was open before. */
  readonly reopened?: () => void;
  /** Names of events after which the stream is over for good. */
  readonly last?: readonly string[];
  /** The server does not go on: what was followed is gone, or not for this person. */
  readonly refused?: (error: ApiError) => void;
}

let count = 0;

/** Follows the stream at `address` until the returned function is called. */
export function follow(address: string, follower: Follower): () => void {
  const source = `events-${++count}`;
  let before = false;
  const stream = new Stream({
    address: () => address,
    opened: () => {
      heard(source);
      if (before) follower.reopened?.();
      before = true;
    },
    event: (name, data) => {
      heard(source);
      follower.on[name]?.(data);
      return follower.last?.includes(name) ?? false;
    },
    lost: () => lost(source),
    refused: (error) => {
      forgotten(source);
      follower.refused?.(error);
    },
  });
  stream.start();
  return () => {
    stream.stop();
    forgotten(source);
  };
}
