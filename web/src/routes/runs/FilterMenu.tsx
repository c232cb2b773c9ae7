/** The menu of filters: first what to filter by, then a value; both can be typed. */
import { useQuery } from '@tanstack/react-query';
import { Popover } from 'radix-ui';
import { useId, useState, type KeyboardEvent } from 'react';
import type { RunFacets } from '../../api/types';
import { Icon } from '../../ui/Icon';
import { Failed } from '../../ui/states';
import type { FilterName, RunFilter } from './filter';
import { facetsQuery } from './list';

const FACETS: readonly { name: FilterName; label: string; from?: keyof RunFacets; fixed?: readonly string[] }[] = [
  { name: 'status', label: 'Status', fixed: ['waiting', 'queued', 'running', 'completed'] },
  { name: 'conclusion', label: 'Conclusion', fixed: ['success', 'failure', 'cancelled', 'skipped', 'timed_out'] },
  { name: 'workflow', label: 'Workflow', from: 'workflows' },
  { name: 'branch', label: 'Branch', from: 'branches' },
  { name: 'project', label: 'Project', from: 'projects' },
  { name: 'actor', label: 'Actor', from: 'actors' },
  { name: 'event', label: 'Event', from: 'events' },
  { name: 'label', label: 'Label', from: 'labels' },
  { name: 'runner', label: 'Runner', from: 'runners' },
  { name: 'kind', label: 'Kind', from: 'kinds' },
];

/** The button and its menu. */
export function FilterMenu({ filter, onChange }: { filter: RunFilter; onChange: (name: FilterName, value: string | undefined) => void }) {
  const [open, setOpen] = useState(false);
  const [facet, setFacet] = useState<FilterName | null>(null);
  return (
    <Popover.Root
      open={open}
      onOpenChange={(next) => {
        setOpen(next);
        if (next) setFacet(null);
      }}
    >
      <Popover.Trigger asChild>
        <button type="button" className="button">
          <Icon name="filter" /> Filter
        </button>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content className="menu filter-menu" align="end" sideOffset={6} collisionPadding={8} aria-label="Filter runs">
          <Choices
            key={facet ?? ''}
            facet={facet}
            chosen={facet ? filter[facet] : undefined}
            onFacet={setFacet}
            onValue={(value) => {
              if (facet) onChange(facet, value);
              setOpen(false);
            }}
          />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function Choices(props: {
  facet: FilterName | null;
  chosen: string | undefined;
  onFacet: (facet: FilterName | null) => void;
  onValue: (value: string | undefined) => void;
}) {
  const facets = useQuery(facetsQuery);
  const list = useId();
  const [typed, setTyped] = useState('');
  const [at, setAt] = useState(0);
  const facet = FACETS.find((each) => each.name === props.facet);
  const all = facet ? (facet.fixed ?? (facet.from && facets.data ? (facets.data[facet.from] as string[]) : [])) : FACETS.map((each) => each.label);
  const shown = all.filter((value) => value.toLowerCase().includes(typed.trim().toLowerCase()));
  // What the server's list leaves out can still be asked for.
  const free = facet && !facet.fixed && typed.trim() !== '' && !all.includes(typed.trim()) ? [typed.trim()] : [];
  const entries = [...shown, ...free];
  const marked = Math.min(at, entries.length - 1);

  const choose = (entry: string | undefined): void => {
    if (entry === undefined) return;
    if (facet) props.onValue(entry === props.chosen ? undefined : entry);
    else props.onFacet(FACETS.find((each) => each.label === entry)?.name ?? null);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const count = Math.max(entries.length, 1);
    if (event.key === 'ArrowDown') setAt((marked + 1) % count);
    else if (event.key === 'ArrowUp') setAt((marked - 1 + count) % count);
    else if (event.key === 'Enter') choose(entries[marked]);
    else if (event.key === 'Backspace' && typed === '' && facet) props.onFacet(null);
    else return;
    event.preventDefault();
  };

  return (
    <>
      <div className="row filter-head">
        {facet && (
          <button type="button" className="button ghost small icon-only" aria-label="Back to all filters" onClick={() => props.onFacet(null)}>
            <Icon name="left" />
          </button>
        )}
        <input
          className="input"
          autoFocus
          role="combobox"
          aria-expanded="true"
          aria-controls={list}
          aria-activedescendant={entries[marked] !== undefined ? `${list}-${marked}` : undefined}
          aria-label={facet ? `${facet.label} of the runs` : 'Filter by'}
          placeholder={facet ? `${facet.label}…` : 'Filter by…'}
          value={typed}
          onChange={(event) => {
            setTyped(event.target.value);
            setAt(0);
          }}
          onKeyDown={onKeyDown}
        />
      </div>
      <ul role="listbox" id={list} aria-label={facet ? facet.label : 'Filters'} className="filter-list">
        {entries.map((entry, index) => (
          <li
            key={entry}
            id={`${list}-${index}`}
            role="option"
            aria-selected={index === marked}
            className="menu-item"
            {...(index === marked ? { 'data-highlighted': '' } : {})}
            onMouseMove={() => setAt(index)}
            onClick={() => choose(entry)}
          >
            <span className="cut grow">{facet?.fixed ? entry.replace('_', ' ') : entry}</span>
            {facet ? entry === props.chosen && <Icon name="check" /> : <Icon name="right" />}
          </li>
        ))}
      </ul>
      {entries.length === 0 && !facets.isError && <p className="menu-label">{facets.isPending ? 'Loading…' : 'Nothing like this'}</p>}
      {facet?.from && facets.isError && <Failed error={facets.error} />}
    </>
  );
}
