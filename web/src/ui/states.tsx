/** What a page shows when it has nothing, waits, or failed: always with the next thing to do. */
import type { ReactNode } from 'react';
import { asApiError } from '../api/problem';
import { Icon } from './Icon';
import './states.css';

/** A page or part without content; teaches the next command. */
export function Empty({ title, children, commands = [] }: { title: string; children?: ReactNode; commands?: readonly string[] }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      {children && <p className="muted">{children}</p>}
      {commands.length > 0 && (
        <pre className="commands" tabIndex={0} aria-label="Commands to type">
          {commands.join('\n')}
        </pre>
      )}
    </div>
  );
}

/** Something is on its way. */
export function Loading({ what = 'Loading' }: { what?: string }) {
  return (
    <p className="loading" role="status">
      <Icon name="arc" className="spin" /> {what}…
    </p>
  );
}

/** Something failed: what, and what to do; with a button that tries again if that can help. */
export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const fault = asApiError(error);
  return (
    <div className="note bad" role="alert">
      <Icon name="alert" className="tone-bad" />
      <div className="grow">
        <p>{fault.message}</p>
        {fault.hint && <p>{fault.hint}</p>}
      </div>
      {retry && (
        <button type="button" className="button small" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}
