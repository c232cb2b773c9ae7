/** What the log says of itself: whether it is live, where one is, and what is wrong. */
import { useEffect, useState } from 'react';
import { Icon } from '../ui/Icon';
import type { Live } from './follower';
import type { LineRange } from './hash';
import type { Snapshot } from './model';
import { many } from './times';

function clock(moment: number): string {
  return new Date(moment).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
}

/** The state of the connection in a word or two. */
function state(live: Live, complete: boolean): [string, string] {
  if (live.kind === 'gone') return ['gone', 'Deleted'];
  if (complete || live.kind === 'ended') return ['ended', 'Complete'];
  if (live.kind === 'live') return ['live', 'Live'];
  if (live.kind === 'lost') return ['lost', 'Not live'];
  if (live.kind === 'refused') return ['gone', 'No access'];
  return ['lost', 'Connecting…'];
}

/** The bar below the log. */
export function LogFoot({ snapshot, top, follow }: { snapshot: Snapshot; top: number; follow: boolean }) {
  const [kind, words] = state(snapshot.live, snapshot.complete);
  const total = snapshot.total;
  return (
    <div className="log-foot">
      <span className={`log-live ${kind}`} role="status">
        {words}
      </span>
      {kind === 'live' && <span>{follow ? 'following the end' : 'paused: new lines are added below'}</span>}
      <span className="log-right">
        {total === 0 ? 'no lines yet' : `line ${many(Math.min(top + 1, total))} of ${many(total)}`}
      </span>
    </div>
  );
}

/** What is wrong with the log, if anything is. */
export function LogNotes({ snapshot, failure, retry }: { snapshot: Snapshot; failure: string | undefined; retry: () => void }) {
  const { live } = snapshot;
  if (live.kind === 'gone') {
    return (
      <div className="log-note bad" role="alert">
        <Icon name="alert" className="tone-bad" />
        <span>This log was deleted at the server. What is shown here is all that this page still has of it.</span>
      </div>
    );
  }
  if (live.kind === 'refused') {
    return (
      <div className="log-note bad" role="alert">
        <Icon name="alert" className="tone-bad" />
        <span>The server does not show this log any more: {live.message}</span>
      </div>
    );
  }
  if (live.kind === 'lost') return <Lost live={live} retry={retry} />;
  if (failure !== undefined) {
    return (
      <div className="log-note wait" role="status">
        <Icon name="alert" className="tone-wait" />
        <span>Lines cannot be loaded: {failure} The page tries again by itself.</span>
        <button type="button" className="button small" onClick={retry}>
          Try now
        </button>
      </div>
    );
  }
  return null;
}

function Lost({ live, retry }: { live: Extract<Live, { kind: 'lost' }>; retry: () => void }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.ceil((live.retryAt - Date.now()) / 1000));
  return (
    <div className="log-note wait">
      <Icon name="alert" className="tone-wait" />
      <span role="status">The connection is lost. This is the log as it was at {clock(live.since)}.</span>
      <span className="muted">{seconds > 0 ? `Trying again in ${seconds} s.` : 'Trying again…'}</span>
      <button type="button" className="button small" onClick={retry}>
        Try now
      </button>
    </div>
  );
}

/** What can be done with the selected lines. */
export function LogPicked(props: { range: LineRange; onCopy: () => void; onLink: () => void; onClose: () => void }) {
  const { from, to } = props.range;
  return (
    <div className="log-picked" role="group" aria-label="Selected lines">
      <span>{from === to ? `Line ${many(from)}` : `Lines ${many(from)}–${many(to)}`}</span>
      <button type="button" className="button ghost small" onClick={props.onCopy}>
        <Icon name="copy" /> {from === to ? 'Copy line' : 'Copy lines'}
      </button>
      <button type="button" className="button ghost small" onClick={props.onLink}>
        <Icon name="external" /> Copy link
      </button>
      <button type="button" className="button ghost small icon-only" onClick={props.onClose} aria-label="Deselect">
        <Icon name="cross" />
      </button>
    </div>
  );
}
