/**
 * The list of runs: live, filtered by what the address says, without an end.
 * Rows are drawn only where the window is, so that its length does not matter.
 */
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useWindowVirtualizer } from '@tanstack/react-virtual';
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import type { RunView } from '../../api/types';
import { useKeys } from '../../lib/keys';
import { useMay } from '../../lib/session';
import { usePageTitle } from '../../lib/title';
import { Icon } from '../../ui/Icon';
import { Empty, Failed, Loading } from '../../ui/states';
import { FilterBar } from './FilterBar';
import { filterOf, type RunFilter } from './filter';
import { useRuns } from './list';
import { NewRun } from './NewRunButton';
import { PendingApprovals } from './PendingApprovals';
import { RunRow } from './RunRow';
import './runs.css';

const page = getRouteApi('/inside/runs');
const ROW_PX = 56;

/** The page. */
export function RunsPage() {
  const search = page.useSearch();
  const filter = useMemo(() => filterOf(search), [search]);
  const navigate = useNavigate();
  const setFilter = useCallback(
    (next: RunFilter) => void navigate({ to: '/runs', search: next, replace: true, resetScroll: true }),
    [navigate],
  );
  const list = useRuns(filter);
  const rows = useMemo(() => list.data?.pages.flatMap((each) => each.items) ?? [], [list.data]);
  const running = rows.slice(0, 100).filter((run) => run.status === 'running').length;
  usePageTitle(running > 0 ? `${running} running · Runs` : 'Runs', running > 0 ? 'running' : 'idle');
  const mayStart = useMay('member');

  return (
    <div className="page">
      <div className="page-head">
        <h1 className="grow">Runs</h1>
        {mayStart && <NewRun />}
      </div>
      <PendingApprovals />
      <FilterBar filter={filter} onChange={setFilter} />
      {list.isError && rows.length === 0 ? (
        <Failed error={list.error} retry={() => void list.refetch()} />
      ) : list.isPending ? (
        <Loading what="Loading runs" />
      ) : rows.length === 0 ? (
        <Nothing filtered={Object.keys(filter).length > 0} onClear={() => setFilter({})} />
      ) : (
        <Rows
          key={JSON.stringify(filter)}
          rows={rows}
          more={list.hasNextPage}
          onEnd={() => {
            if (list.hasNextPage && !list.isFetchingNextPage) void list.fetchNextPage();
          }}
        />
      )}
    </div>
  );
}

function Rows({ rows, more, onEnd }: { rows: readonly RunView[]; more: boolean; onEnd: () => void }) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [wanted, setWanted] = useState<number | null>(null);
  useLayoutEffect(() => setTop(box.current?.offsetTop ?? 0), []);
  const virtual = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => ROW_PX,
    overscan: 8,
    scrollMargin: top,
    scrollPaddingStart: 56,
    getItemKey: (index) => rows[index]?.id ?? index,
  });
  const items = virtual.getVirtualItems();
  const last = items[items.length - 1]?.index ?? 0;
  useEffect(() => {
    if (more && last >= rows.length - 30) onEnd();
  });

  // A row that is asked for may have to be drawn before it can be focused.
  useEffect(() => {
    if (wanted === null) return;
    const link = box.current?.querySelector<HTMLElement>(`[data-index="${wanted}"] a`);
    if (link) {
      link.focus({ preventScroll: true });
      setWanted(null);
    }
  }, [wanted, items]);

  const go = (step: number): void => {
    const row = document.activeElement?.closest<HTMLElement>('[data-index]');
    const first = items.find((item) => item.start >= (window.scrollY || 0))?.index ?? 0;
    const at = row ? Number(row.dataset['index']) + step : first;
    const next = Math.max(0, Math.min(rows.length - 1, at));
    virtual.scrollToIndex(next, { align: 'auto' });
    setWanted(next);
  };
  useKeys({
    j: () => go(1),
    k: () => go(-1),
    ArrowDown: () => go(1),
    ArrowUp: () => go(-1),
  });

  return (
    <div role="table" aria-label="Runs" aria-rowcount={more ? -1 : rows.length} className="card runs" ref={box}>
      <div role="rowgroup" className="runs-rows" style={{ height: virtual.getTotalSize() }}>
        {items.map((item) => {
          const run = rows[item.index];
          return run ? (
            <RunRow key={item.key} run={run} index={item.index} offset={item.start - top} />
          ) : null;
        })}
      </div>
      {more && (
        <p className="runs-more muted" aria-hidden="true">
          <Icon name="arc" className="spin" /> Loading more…
        </p>
      )}
    </div>
  );
}

function Nothing({ filtered, onClear }: { filtered: boolean; onClear: () => void }) {
  if (filtered) {
    return (
      <div className="card">
        <Empty title="No run fits these filters">
          <button type="button" className="button" onClick={onClear}>
            Clear filters
          </button>
        </Empty>
      </div>
    );
  }
  return (
    <div className="card">
      <Empty
        title="Nothing has run yet"
        commands={['# submit a workflow file and follow it', 'fleetfoot submit .github/workflows/ci.yml --watch', '', '# or let a repository start runs by itself', 'fleetfoot repo add OWNER/NAME --forge github']}
      >
        A run begins when a workflow or a job is submitted, or when a repository is pushed to.
      </Empty>
    </div>
  );
}
