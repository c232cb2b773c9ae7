/** How the server is: its parts in words, its version, how long a commit takes. */
import { queryOptions, useQuery } from '@tanstack/react-query';
import { answer, api } from '../../api/client';
import type { ComponentHealth, ComponentState, HealthView } from '../../api/schema.gen';
import { duration } from '../../lib/time';
import { DataTable, type Column } from '../../ui/DataTable';
import { Icon, type IconName } from '../../ui/Icon';
import { Tiles, type Tile } from '../../ui/Tiles';
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
            <Tiles tiles={facts(view)} />
            <DataTable label="Parts of the server" columns={COLUMNS} rows={view.components} id={(row) => row.name} empty={null} />
          </>
        )}
      </Fetched>
    </Matter>
  );
}

function facts(view: HealthView): readonly Tile[] {
  return [
    { name: 'Version', value: view.version },
    { name: 'Schema', value: String(view.schema) },
    { name: 'Up for', value: duration(view.uptime_seconds * 1000) },
    { name: 'Transactions', value: view.commits.toLocaleString() },
    { name: 'A commit takes', value: `${(view.flush_now_ms ?? view.flush_ms).toFixed(1)} ms` },
  ];
}
