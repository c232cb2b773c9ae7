/** The audit log: who did what to what, with filters kept in the address, and an export of what is filtered. */
import { useNavigate, useSearch } from '@tanstack/react-router';
import { answer, api } from '../../api/client';
import type { AuditEntry } from '../../api/schema.gen';
import { DataTable, type Column } from '../../ui/DataTable';
import { Field, texts } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { Pages, usePages } from '../../ui/Pages';
import { Empty } from '../../ui/states';
import { Ago } from '../../ui/Time';
import { auditQuery, auditSearch, KEYS } from './audit-search';
import { Matter } from './parts';

const COLUMNS: readonly Column<AuditEntry>[] = [
  { head: 'When', cell: (row) => <Ago at={row.at} /> },
  { head: 'Who', cell: (row) => <code>{row.actor}</code> },
  { head: 'What', cell: (row) => <code>{row.action}</code> },
  { head: 'On what', cell: (row) => <code>{row.subject}</code> },
  { head: 'Detail', cell: (row) => <Detail of={row.detail} />, wide: true },
];

/** What is known beside: names and values; what has no value is left out. */
function Detail({ of }: { of: unknown }) {
  if (of == null) return null;
  if (typeof of !== 'object' || Array.isArray(of)) return <code className="audit-detail">{JSON.stringify(of)}</code>;
  return (
    <span className="audit-detail">
      {Object.entries(of).filter(([, value]) => value != null).map(([name, value]) => (
        <span key={name}>
          <span className="muted">{name.replaceAll('_', ' ')}</span> <code>{typeof value === 'string' ? value : JSON.stringify(value)}</code>
        </span>
      ))}
    </span>
  );
}

/** The page. */
export function Audit() {
  const search = useSearch({ from: '/inside/admin/audit' });
  const navigate = useNavigate();
  const query = auditQuery(search);
  const entries = usePages(['audit', query], async (cursor, signal) => {
    const page = await answer(api.GET('/api/v1/audit', { params: { query: { limit: 100, ...query, ...(cursor ? { cursor } : {}) } }, signal }));
    // Only exports are text.
    return typeof page === 'string' ? { items: [] } : page;
  });
  return (
    <Matter title="Audit log" intro="Everything that changed something, and everything that was refused to somebody." action={<Exports query={query} />}>
      <form
        key={JSON.stringify(search)}
        className="form-row card"
        onSubmit={(event) => {
          event.preventDefault();
          const text = texts(event.currentTarget);
          const next = auditSearch(Object.fromEntries(KEYS.map((key) => [key, text(key)])));
          void navigate({ to: '/admin/audit', search: next });
        }}
      >
        <Field label="Who" name="actor" defaultValue={search.actor} placeholder="token:3" />
        <Field label="What" name="action" defaultValue={search.action} placeholder="token." />
        <Field label="On what" name="target" defaultValue={search.target} placeholder="job:12" />
        <Field label="Words" name="text" defaultValue={search.text} />
        <Field label="From" name="from" type="date" defaultValue={search.from} />
        <Field label="To" name="to" type="date" defaultValue={search.to} />
        <button type="submit" className="button">
          <Icon name="filter" /> Filter
        </button>
      </form>
      <Pages of={entries} more="Older entries">
        {(rows) => (
          <DataTable label="Audit entries" columns={COLUMNS} rows={rows} id={(row) => row.id}
            empty={<Empty title="Nothing fits">Take a filter away, or look at other days.</Empty>} />
        )}
      </Pages>
    </Matter>
  );
}

function Exports({ query }: { query: Record<string, string> }) {
  const href = (format: string): string => `/api/v1/audit?${new URLSearchParams({ ...query, format }).toString()}`;
  return (
    <span className="row">
      <a className="button" href={href('csv')} download="audit.csv">
        <Icon name="download" /> CSV
      </a>
      <a className="button" href={href('ndjson')} download="audit.ndjson">
        <Icon name="download" /> JSON lines
      </a>
    </span>
  );
}
