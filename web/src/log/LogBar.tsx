/** The bar above the log: search and switches. It holds no state of its own but what is typed. */
import { type KeyboardEvent, type RefObject, useEffect, useState } from 'react';
import { Icon } from '../ui/Icon';
import type { Found } from './search';
import { many, type TimeMode } from './times';
import type { Query } from './wire';

const TIMES: Readonly<Record<TimeMode, string>> = { off: 'off', absolute: 'of day', relative: 'since start' };
const TYPING_MS = 180;

/** What the bar shows and does. */
export interface LogBarProps {
  readonly input: RefObject<HTMLInputElement | null>;
  readonly found: Found | undefined;
  /** Index of the current match; -1 for none. */
  readonly current: number;
  readonly errors: number;
  readonly times: TimeMode;
  readonly wrap: boolean;
  readonly follow: boolean;
  readonly live: boolean;
  readonly full: boolean;
  readonly raw: string;
  readonly rawName: string;
  onSearch(query: Query): void;
  onMatch(forward: boolean): void;
  onError(): void;
  onTimes(): void;
  onWrap(): void;
  onFollow(): void;
  onFull(): void;
  onTop(): void;
  onEnd(): void;
}

/** The bar. */
export function LogBar(props: LogBarProps) {
  return (
    <div className="log-bar" role="toolbar" aria-label="Log">
      <SearchField {...props} />
      <div className="log-tools">
        {props.errors > 0 && (
          <button type="button" className="button ghost small" onClick={props.onError} title="Jump to the first error (e)">
            <Icon name="alert" className="tone-bad" />
            {props.errors === 1 ? '1 error' : `${many(props.errors)} errors`}
          </button>
        )}
        <button type="button" className="button ghost small" onClick={props.onTimes} aria-label={`Times: ${TIMES[props.times]}`} aria-pressed={props.times !== 'off'} title={`Times: ${TIMES[props.times]} (t)`}>
          <Icon name="clock" />
          <span className="log-word">{props.times === 'off' ? 'Times' : TIMES[props.times]}</span>
        </button>
        <button type="button" className="button ghost small" onClick={props.onWrap} aria-label="Wrap long lines" aria-pressed={props.wrap} title="Wrap long lines (w)">
          <WrapIcon />
          <span className="log-word">Wrap</span>
        </button>
        {props.live && (
          <button type="button" className="button ghost small" onClick={props.onFollow} aria-label="Follow the end" aria-pressed={props.follow} title="Follow the end (f)">
            <Icon name="bolt" />
            <span className="log-word">Follow</span>
          </button>
        )}
        <button type="button" className="button ghost small icon-only" onClick={props.onTop} aria-label="Go to the beginning" title="Go to the beginning (g)">
          <EdgeIcon up />
        </button>
        <button type="button" className="button ghost small icon-only" onClick={props.onEnd} aria-label="Go to the end" title="Go to the end (G)">
          <EdgeIcon />
        </button>
        <a className="button ghost small icon-only" href={props.raw} download={props.rawName} aria-label="Download the raw log" title="Download the raw log">
          <Icon name="download" />
        </a>
        <button type="button" className="button ghost small icon-only" onClick={props.onFull} aria-label="Full screen" aria-pressed={props.full} title="Full screen">
          <FullIcon />
        </button>
      </div>
    </div>
  );
}

function SearchField({ input, found, current, onSearch, onMatch }: LogBarProps) {
  const [query, setQuery] = useState<Query>({ text: '', regex: false, matchCase: false });
  useEffect(() => {
    const timer = setTimeout(() => onSearch(query), query.text === '' ? 0 : TYPING_MS);
    return () => clearTimeout(timer);
  }, [query, onSearch]);
  const key = (event: KeyboardEvent): void => {
    if (event.key === 'Enter') {
      event.preventDefault();
      onMatch(!event.shiftKey);
    } else if (event.key === 'Escape') {
      event.preventDefault();
      setQuery({ ...query, text: '' });
      event.currentTarget.closest('.log')?.querySelector<HTMLElement>('.log-scroll')?.focus();
    }
  };
  const any = found !== undefined && found.lines.length > 0;
  return (
    <div className="log-search" role="search">
      <Icon name="search" />
      <input
        ref={input}
        type="search"
        value={query.text}
        placeholder="Search the log"
        aria-label="Search the log"
        aria-keyshortcuts="/"
        spellCheck={false}
        autoComplete="off"
        onChange={(event) => setQuery({ ...query, text: event.target.value })}
        onKeyDown={key}
      />
      <span
        className={found !== undefined && !found.busy && found.count === 0 ? 'log-count log-none' : 'log-count'}
        role="status"
        title={found?.failure}
      >
        {words(found, current)}
      </span>
      <button type="button" className="log-switch" aria-pressed={query.matchCase} aria-label="Match case" title="Match case" onClick={() => setQuery({ ...query, matchCase: !query.matchCase })}>
        Aa
      </button>
      <button type="button" className="log-switch" aria-pressed={query.regex} aria-label="Regular expression" title="Regular expression" onClick={() => setQuery({ ...query, regex: !query.regex })}>
        .*
      </button>
      <button type="button" className="log-switch" disabled={!any} aria-label="Previous match" title="Previous match (N)" onClick={() => onMatch(false)}>
        <EdgeIcon up plain />
      </button>
      <button type="button" className="log-switch" disabled={!any} aria-label="Next match" title="Next match (n)" onClick={() => onMatch(true)}>
        <EdgeIcon plain />
      </button>
    </div>
  );
}

function words(found: Found | undefined, current: number): string {
  if (found === undefined) return '';
  if (found.failure !== undefined) return found.query.regex ? 'not a pattern' : 'search failed';
  const busy = found.busy ? '…' : '';
  if (found.count === 0) return found.busy ? 'searching…' : 'no matches';
  return current >= 0 ? `${many(current + 1)} of ${many(found.count)}${busy}` : `${many(found.count)}${busy}`;
}

function WrapIcon() {
  return <Drawn path="M2.5 4h11M2.5 8h9a2 2 0 0 1 0 4H8m1.6-1.8L7.8 12l1.8 1.8M2.5 12h3" />;
}

function EdgeIcon({ up = false, plain = false }: { up?: boolean; plain?: boolean }) {
  if (plain) return <Drawn path={up ? 'm4 10 4-4 4 4' : 'm4 6 4 4 4-4'} />;
  return <Drawn path={up ? 'M3.5 3h9m-8.5 8 4-4 4 4' : 'M3.5 13h9m-8.5-8 4 4 4-4'} />;
}

function FullIcon() {
  return <Drawn path="M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10" />;
}

function Drawn({ path }: { path: string }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}
