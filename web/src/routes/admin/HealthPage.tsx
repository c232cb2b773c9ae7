/** How the server is: its parts in words, its version, how long a commit takes. */
import { queryOptions, useQuery } from '@tanstack/react-query';
import { answer, api } from '../../api/client';
import type { ComponentHealth, ComponentState, HealthView } from '../../api/schema.gen';
import { duration } from '../../lib/time';
import { DataTable, type Column } from '../../ui/DataTable';
import { Icon, type IconName } from '../../ui/Icon';
import { Fetched, Matter } from './parts';

const healthQuery = queryOptions({
  queryKey: ['health'],
  queryFn: ({ signal }) => answer(api.GET('/api/v1/health', { signal })),
  refetchInterval: 5_000,
});

const STATES: Record<ComponentState, { tone: string; icon: IconName; word: string }> = {
  ok: { tone: 'tone-ok', icon: 'check', word: 'fine' },
  off: { tone: 'tone-quiet', icon: 'minus', word: 'not set up' },
  degraded: { tone: 'tone-wait', icon: 'alert', word: 'needs a look' },
  failing: { tone: 'tone-bad', icon: 'cross', word: 'failing' },
};

function State({ state }: { state: ComponentState }) {
  const { tone, icon, word } = STATES[state];
  return (
    <span className={`status ${tone}`}>
      <Icon name={icon} /> {word}
    </span>
  );
}

const COLUMNS: readonly Column<ComponentHealth>[] = [
  { head: 'Part', cell: (row) => <strong>{row.name}</strong> },
  { head: 'State', cell: (row) => <State state={row.state} /> },
  { head: 'In words', cell: (row) => row.words },
];

/** The page. */
export function HealthPage() {
  const health = useQuery(healthQuery);
  return (
    <Matter title="Health" intro="For machines: /healthz, /readyz and /metrics.">
      <Fetched query={health}>
        {(view) => (
          <>
            <Tiles view={view} />
            <DataTable label="Parts of the server" columns={COLUMNS} rows={view.components} id={(row) => row.name} empty={null} />
          </>
        )}
      </Fetched>
    </Matter>
  );
}

function Tiles({ view }: { view: HealthView }) {
  const facts: readonly (readonly [string, string])[] = [
    ['Version', view.version],
    ['Schema', String(view.schema)],
    ['Up for', duration(view.uptime_seconds * 1000)],
    ['Transactions', view.commits.toLocaleString()],
    ['A commit takes', `${(view.flush_now_ms ?? view.flush_ms).toFixed(1)} ms`],
  ];
  return (
    <dl className="tiles">
      {facts.map(([name, value]) => (
        <div key={name} className="card tile">
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
