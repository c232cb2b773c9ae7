/** The bar above the list: search, quick choices, filters and what is chosen. */
import { useEffect, useRef, useState } from 'react';
import { useKeys } from '../../lib/keys';
import { Icon } from '../../ui/Icon';
import { FilterMenu } from './FilterMenu';
import { countOf, FILTERS, type RunFilter } from './filter';

const TYPING_MS = 200;

const QUICK: readonly { label: string; set: RunFilter }[] = [
  { label: 'All', set: {} },
  { label: 'Running', set: { status: 'running' } },
  { label: 'Queued', set: { status: 'queued' } },
  { label: 'Failed', set: { conclusion: 'failure' } },
];

/** The bar. */
export function FilterBar({ filter, onChange }: { filter: RunFilter; onChange: (filter: RunFilter) => void }) {
  return (
    <div className="filters">
      <SearchBox text={filter.text ?? ''} onChange={(text) => onChange(without({ ...filter, text }))} />
      <div className="quick" role="group" aria-label="Quick filters">
        {QUICK.map(({ label, set }) => {
          const chosen = filter.status === set.status && filter.conclusion === set.conclusion;
          return (
            <button
              key={label}
              type="button"
              className="quick-choice"
              aria-pressed={chosen}
              onClick={() => onChange(without({ ...filter, status: set.status, conclusion: set.conclusion }))}
            >
              {label}
            </button>
          );
        })}
      </div>
      <FilterMenu filter={filter} onChange={(name, value) => onChange(without({ ...filter, [name]: value }))} />
      <Chosen filter={filter} onChange={onChange} />
    </div>
  );
}

function Chosen({ filter, onChange }: { filter: RunFilter; onChange: (filter: RunFilter) => void }) {
  const shown = FILTERS.filter((name) => name !== 'text' && filter[name] !== undefined);
  if (shown.length === 0) return null;
  return (
    <ul className="chosen" aria-label="Filters that are set">
      {shown.map((name) => (
        <li key={name}>
          <button type="button" className="chip chosen-chip" onClick={() => onChange(without({ ...filter, [name]: undefined }))}>
            <span className="visually-hidden">Remove filter </span>
            <span>{name}:</span>
            <strong className="cut">{filter[name]?.replace('_', ' ')}</strong>
            <Icon name="cross" />
          </button>
        </li>
      ))}
      {countOf(filter) > 1 && (
        <li>
          <button type="button" className="button ghost small" onClick={() => onChange(without({ text: filter.text }))}>
            Clear all
          </button>
        </li>
      )}
    </ul>
  );
}

/** The filter without what is not set, so that the address has none of it. */
function without(filter: RunFilter): RunFilter {
  return Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined && value !== ''));
}

function SearchBox({ text, onChange }: { text: string; onChange: (text: string) => void }) {
  const box = useRef<HTMLInputElement>(null);
  const [typed, setTyped] = useState(text);
  const latest = useRef(onChange);
  useEffect(() => {
    latest.current = onChange;
  });
  // The address changed otherwise: by the back button, or a link.
  useEffect(() => setTyped(text), [text]);
  useEffect(() => {
    if (typed === text) return undefined;
    const timer = setTimeout(() => latest.current(typed), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed, text]);
  useKeys({ '/': () => box.current?.focus() });
  return (
    <div className="search" role="search">
      <Icon name="search" />
      <input
        ref={box}
        type="search"
        className="input"
        aria-label="Search runs"
        aria-keyshortcuts="/"
        placeholder="Title, branch, commit or #number"
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') box.current?.blur();
        }}
      />
      <kbd className="kbd hide-narrow">/</kbd>
    </div>
  );
}
