/** Moments and lengths of time that stay right while they are looked at. */
import { ago, duration, exactly, millis, useNow } from '../lib/time';

/** A moment, seen from now; the exact one is its title. */
export function Ago({ at }: { at: string | null | undefined }) {
  const now = useNow();
  const moment = millis(at);
  if (moment === null) return null;
  return (
    <time dateTime={at ?? undefined} title={exactly(moment)} className="nowrap">
      {ago(moment, now)}
    </time>
  );
}

/** How long something took, or takes until now. */
export function Lasted({ from, to }: { from: string | null | undefined; to: string | null | undefined }) {
  const begin = millis(from);
  const end = millis(to);
  if (begin === null) return null;
  return end === null ? <Running since={begin} /> : <span className="nowrap">{duration(end - begin)}</span>;
}

function Running({ since }: { since: number }) {
  const now = useNow();
  // Whole seconds: a number that changes its length all the time is unquiet.
  return <span className="nowrap">{duration(Math.max(Math.floor((now - since) / 1000) * 1000, 0))}</span>;
}
