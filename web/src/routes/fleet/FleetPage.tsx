/** The fleet: how busy it is, how long jobs wait, and every runner. */
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Link, useNavigate, useSearch } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import type { FleetView, RunnerView } from '../../api/schema.gen';
import { useMay } from '../../lib/session';
import { bytes } from '../../lib/bytes';
import { usePageTitle } from '../../lib/title';
import { useFeed } from '../../live/feed';
import { DataTable, type Column } from '../../ui/DataTable';
import { Icon } from '../../ui/Icon';
import { Empty, Failed, Loading } from '../../ui/states';
import { Tiles } from '../../ui/Tiles';
import { Ago } from '../../ui/Time';
import { AddRunner } from './AddRunner';
import { FleetCharts } from './FleetCharts';
import { fleetQuery, runnersQuery } from './data';
import { RunnerActions } from './RunnerActions';
import { RunnerState } from './RunnerState';
import './fleet.css';

/** The page. */
export function FleetPage() {
  usePageTitle('Fleet');
  const { range = '1h', of = '' } = useSearch({ from: '/inside/runners' });
  const navigate = useNavigate();
  const queries = useQueryClient();
  const fleet = useQuery(fleetQuery);
  const runners = useQuery(runnersQuery);
  const [adding, setAdding] = useState(false);
  const admin = useMay('admin');
  useFeed((change) => {
    if (change.change === 'runner' || change.change === 'runner_deleted' || change.change === 'reset') {
      void queries.invalidateQueries({ queryKey: ['runners'] });
      void queries.invalidateQueries({ queryKey: ['fleet'] });
    }
  });
  return (
    <div className="page fleet">
      <div className="page-head">
        <h1 className="grow">Fleet</h1>
        {admin && (
          <button type="button" className="button primary" onClick={() => setAdding(true)}>
            <Icon name="plus" /> Add a runner
          </button>
        )}
      </div>
      {fleet.isError && <Failed error={fleet.error} retry={() => void fleet.refetch()} />}
      {fleet.data && <Now fleet={fleet.data} />}
      <section className="stack" aria-labelledby="runners">
        <h2 id="runners">Runners</h2>
        {runners.isError && <Failed error={runners.error} retry={() => void runners.refetch()} />}
        {runners.isPending && <Loading />}
        {runners.data && <Runners rows={runners.data} serverVersion={fleet.data?.server_version} />}
      </section>
      {fleet.data && <Queues fleet={fleet.data} />}
      <FleetCharts
        range={range}
        of={of}
        onRange={(next) => void navigate({ to: '/runners', search: { range: next, of }, replace: true, resetScroll: false })}
        onChoose={(next) => void navigate({ to: '/runners', search: { range, of: next }, replace: true, resetScroll: false })}
      />
      {adding && <AddRunner onClose={() => setAdding(false)} />}
    </div>
  );
}

function Now({ fleet }: { fleet: FleetView }) {
  const connected = Object.entries(fleet.runners).filter(([state]) => state !== 'offline').reduce((sum, [, count]) => sum + count, 0);
  const oldest = fleet.oldest_waiting;
  return (
    <>
      <Tiles
        tiles={[
          { name: 'Runners connected', value: connected, note: Object.entries(fleet.runners).filter(([, count]) => count > 0).map(([state, count]) => `${count} ${state}`).join(', ') || 'none yet' },
          { name: 'Slots in use', value: `${fleet.slots_busy} of ${fleet.slots_total}`, note: `${Math.round(fleet.utilisation * 100)} % utilised` },
          { name: 'Jobs running', value: fleet.jobs_running, note: fleet.jobs_running === 0 ? 'nothing runs' : <Link to="/runs" search={{ status: 'running' }}>their runs</Link> },
          { name: 'Jobs waiting', value: fleet.jobs_waiting, note: oldest ? <>the oldest since <Ago at={oldest.since} /></> : 'nothing waits' },
        ]}
      />
      {fleet.skew.length > 0 && (
        <p className="note wait">
          <Icon name="alert" />
          <span>
            {fleet.skew.length === 1 ? 'A runner has' : `${fleet.skew.length} runners have`} another version than the server ({fleet.server_version}):{' '}
            {fleet.skew.slice(0, 5).map((skew) => `${skew.name} ${skew.version}${skew.too_far ? ' (gets no jobs)' : ''}`).join(', ')}
          </span>
        </p>
      )}
    </>
  );
}

function Queues({ fleet }: { fleet: FleetView }) {
  if (fleet.queues.length === 0 && fleet.labels.length === 0) return null;
  return (
    <div className="fleet-split">
      <section className="stack" aria-labelledby="queues">
        <h2 id="queues">Queues</h2>
        <DataTable
          label="Queues"
          id={(row) => row.queue}
          rows={fleet.queues}
          empty={<Empty title="No queue has jobs" />}
          columns={[
            { head: 'Queue', cell: (row) => <strong>{row.queue}</strong> },
            { head: 'Waiting', cell: (row) => row.waiting, numeric: true },
            { head: 'Held back', cell: (row) => row.held, numeric: true, wide: true },
            { head: 'Running', cell: (row) => row.running, numeric: true },
            { head: 'Oldest', cell: (row) => (row.oldest_since ? <Ago at={row.oldest_since} /> : <span className="muted">none</span>) },
          ]}
        />
      </section>
      <section className="stack" aria-labelledby="labels">
        <h2 id="labels">Labels that waiting jobs ask for</h2>
        <DataTable
          label="Labels"
          id={(row) => row.label}
          rows={fleet.labels}
          empty={<Empty title="No waiting job asks for a label" />}
          columns={[
            { head: 'Label', cell: (row) => <span className="chip">{row.label}</span> },
            { head: 'Waiting', cell: (row) => row.waiting, numeric: true },
            { head: 'Runners that offer it', cell: (row) => (row.runners === 0 ? <span className="tone-bad">none</span> : row.runners), numeric: true },
          ]}
        />
      </section>
    </div>
  );
}

function Runners({ rows, serverVersion }: { rows: readonly RunnerView[]; serverVersion: string | undefined }) {
  const columns = useMemo<readonly Column<RunnerView>[]>(
    () => [
      { head: 'Name', cell: (row) => <Link to="/runners/$runner" params={{ runner: String(row.id) }}>{row.name}</Link> },
      { head: 'State', cell: (row) => <RunnerState runner={row} /> },
      { head: 'Jobs', cell: (row) => <>{row.jobs.length} of {row.slots}</>, numeric: true },
      { head: 'Labels', cell: (row) => <Chips words={row.labels} />, wide: true },
      { head: 'Boundary', cell: (row) => row.info.boundary ?? 'process', wide: true },
      { head: 'CPU', cell: (row) => (row.resources ? `${Math.round((row.resources.cpu ?? 0) * 100)} %` : '—'), numeric: true, wide: true },
      { head: 'Memory', cell: (row) => (row.resources ? bytes(row.resources.memory_used_bytes ?? 0) : '—'), numeric: true, wide: true },
      {
        head: 'Version',
        cell: (row) => (serverVersion !== undefined && row.version !== serverVersion ? <span className="tone-wait" title={`The server is ${serverVersion}`}>{row.version}</span> : row.version),
        wide: true,
      },
      { head: 'Seen', cell: (row) => (row.last_seen_at ? <Ago at={row.last_seen_at} /> : <span className="muted">never</span>), wide: true },
      { head: '', cell: (row) => <RunnerActions runner={row} /> },
    ],
    [serverVersion],
  );
  return (
    <DataTable
      label="Runners"
      columns={columns}
      rows={rows}
      id={(row) => row.id}
      empty={
        <Empty title="No runners yet" commands={['fleetfoot token create --registration --expires 1h', 'fleetfoot runner up --server ADDRESS --token TOKEN']}>
          Nothing can run until there is one.
        </Empty>
      }
    />
  );
}

/** Words as chips, at most six of them: the others are told when asked for. */
export function Chips({ words }: { words: readonly string[] }) {
  const rest = words.slice(6);
  return (
    <span className="chips">
      {words.slice(0, 6).map((word) => (
        <span key={word} className="chip">{word}</span>
      ))}
      {rest.length > 0 && <span className="chip" title={rest.join(', ')}>+{rest.length}</span>}
    </span>
  );
}
