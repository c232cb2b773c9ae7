/** What takes how much room, and how long things are kept; caches and artifacts can be removed here. */
import { queryOptions, useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { answer, api } from '../../api/client';
import type { ArtifactView, CacheView, Stock, StorageView } from '../../api/schema.gen';
import { bytes } from '../../lib/bytes';
import { duration } from '../../lib/time';
import { DataTable, type Column } from '../../ui/DataTable';
import { Pages, usePages } from '../../ui/Pages';
import { Empty } from '../../ui/states';
import { Tiles, type Tile } from '../../ui/Tiles';
import { Ago } from '../../ui/Time';
import { Fetched, Matter, Remove } from './parts';

const storageQuery = queryOptions({
  queryKey: ['storage'],
  queryFn: ({ signal }) => answer(api.GET('/api/v1/storage', { signal })),
});

/** The page. */
export function Storage() {
  const storage = useQuery(storageQuery);
  return (
    <>
      <Matter title="Storage" intro="Sizes are measured at most once a minute.">
        <Fetched query={storage}>{(view) => <Sizes view={view} />}</Fetched>
      </Matter>
      <section className="stack" aria-labelledby="artifacts">
        <h2 id="artifacts">Artifacts</h2>
        <Artifacts />
      </section>
      <section className="stack" aria-labelledby="caches">
        <h2 id="caches">Caches</h2>
        <Caches />
      </section>
    </>
  );
}

function Sizes({ view }: { view: StorageView }) {
  const used = view.disk_total_bytes - view.disk_free_bytes;
  const full = Math.round((100 * used) / Math.max(view.disk_total_bytes, 1));
  const kept = view.retention;
  return (
    <>
      <Tiles
        tiles={[
          tile('Logs', view.logs, view.archived_logs > 0 ? `${view.archived_logs} copied to the object store` : undefined),
          tile('Artifacts', view.artifacts),
          tile('Caches', view.caches),
          { name: 'Database', value: bytes(view.database.bytes), note: 'with its write-ahead log' },
        ]}
      />
      <div className="card card-body stack">
        <p className="row">
          <span className="grow">Disk of the server</span>
          <span>
            {bytes(used)} of {bytes(view.disk_total_bytes)} used
          </span>
        </p>
        <span role="meter" className={full > 85 ? 'meter nearly' : 'meter'} aria-label="Used part of the disk" aria-valuemin={0} aria-valuemax={100} aria-valuenow={full} aria-valuetext={`${full} %`}>
          <span style={{ width: `${full}%` }} />
        </span>
      </div>
      <DataTable
        label="How long things are kept"
        columns={RETENTION}
        id={(row) => row.what}
        empty={null}
        rows={[
          { what: 'Completed runs with their logs', kept: lasting(kept.runs_seconds) },
          { what: 'Artifacts, at most', kept: lasting(kept.artifacts_seconds) },
          { what: 'Caches that nobody uses', kept: lasting(kept.caches_idle_seconds) },
          { what: 'Caches of one repository, together', kept: kept.caches_bytes_per_repository == null ? 'as much as there is' : bytes(kept.caches_bytes_per_repository) },
        ]}
      />
    </>
  );
}

const RETENTION: readonly Column<{ what: string; kept: string }>[] = [
  { head: 'What is kept', cell: (row) => row.what },
  { head: 'For how long, or how much', cell: (row) => row.kept },
];

function lasting(seconds: number | null | undefined): string {
  if (seconds == null) return 'for ever';
  const days = seconds / 86_400;
  return Number.isInteger(days) ? `${days} ${days === 1 ? 'day' : 'days'}` : duration(seconds * 1000);
}

function tile(name: string, stock: Stock, note?: string): Tile {
  return { name, value: bytes(stock.bytes), note: note ?? (stock.count === 0 ? 'none' : `${stock.count.toLocaleString()} in all`) };
}

/** Entries of a page. */
const PAGE = 50;

function behind(cursor: string | undefined): { cursor?: number } {
  return cursor === undefined ? {} : { cursor: Number(cursor) };
}

const ARTIFACTS: readonly Column<ArtifactView>[] = [
  { head: 'Name', cell: (row) => <a href={`/api/v1/artifacts/${row.id}/download`} download>{row.name}</a> },
  { head: 'Run', cell: (row) => <Link to="/runs/$run" params={{ run: String(row.run) }}>{row.run}</Link> },
  { head: 'Size', cell: (row) => bytes(row.size), numeric: true },
  { head: 'Made', cell: (row) => <Ago at={row.created_at} />, wide: true },
  { head: 'Goes', cell: (row) => <Ago at={row.expires_at} />, wide: true },
  {
    head: '',
    cell: (row) => (
      <Remove what={`artifact ${row.name}`} consequence="It cannot be downloaded any more." keys={['artifacts', 'storage']}
        work={() => answer(api.DELETE('/api/v1/artifacts/{id}', { params: { path: { id: row.id } } }))} />
    ),
  },
];

function Artifacts() {
  const artifacts = usePages(['artifacts'], async (cursor, signal) => {
    const page = await answer(api.GET('/api/v1/artifacts', { params: { query: { limit: PAGE, ...behind(cursor) } }, signal }));
    return { items: page.artifacts, next_cursor: page.next_cursor };
  });
  return (
    <Pages of={artifacts}>
      {(rows) => (
        <DataTable label="Artifacts" columns={ARTIFACTS} rows={rows} id={(row) => row.id}
          empty={<Empty title="No artifacts">A step makes one with actions/upload-artifact.</Empty>} />
      )}
    </Pages>
  );
}

const CACHES: readonly Column<CacheView>[] = [
  { head: 'Key', cell: (row) => <code>{row.key}</code> },
  { head: 'Repository', cell: (row) => row.repository || row.project },
  { head: 'Ref', cell: (row) => <code>{row.ref}</code>, wide: true },
  { head: 'Size', cell: (row) => bytes(row.size), numeric: true },
  { head: 'Last used', cell: (row) => <Ago at={row.used_at} />, wide: true },
  {
    head: '',
    cell: (row) => (
      <Remove what={`cache ${row.key}`} consequence="The next job that asks for it makes it anew." keys={['caches', 'storage']}
        work={() => answer(api.DELETE('/api/v1/caches/{id}', { params: { path: { id: row.id } } }))} />
    ),
  },
];

function Caches() {
  const caches = usePages(['caches'], async (cursor, signal) => {
    const page = await answer(api.GET('/api/v1/caches', { params: { query: { limit: PAGE, ...behind(cursor) } }, signal }));
    return { items: page.caches, next_cursor: page.next_cursor };
  });
  return (
    <Pages of={caches}>
      {(rows) => (
        <DataTable label="Caches" columns={CACHES} rows={rows} id={(row) => row.id}
          empty={<Empty title="No caches">A step makes one with actions/cache.</Empty>} />
      )}
    </Pages>
  );
}
