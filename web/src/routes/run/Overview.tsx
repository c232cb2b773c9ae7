/** The overview of a run: its jobs as a graph, over time or as a grid; then what they left behind. */
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useMemo } from 'react';
import { useQuery } from '@tanstack/react-query';
import type { RunView } from '../../api/types';
import { Empty, Loading } from '../../ui/states';
import { runQuery } from './data';
import { nodesOf } from './graph';
import { Leavings } from './Leavings';
import { gridOf } from './matrix';
import { MatrixView } from './MatrixView';
import { TimelineView } from './TimelineView';
import { VIEWS, type RunViewName } from './views';

const GraphView = lazy(() => import('./GraphView'));
const page = getRouteApi('/inside/runs/$run/');

const LABELS: Record<RunViewName, string> = { graph: 'Graph', timeline: 'Timeline', runners: 'By runner', matrix: 'Matrix' };

/** The overview. */
export function Overview() {
  const { run: id } = page.useParams();
  const { data: run } = useQuery(runQuery(Number(id)));
  return run ? <Views run={run} /> : null;
}

function Views({ run }: { run: RunView }) {
  const { view = 'graph' } = page.useSearch();
  const navigate = useNavigate();
  const jobs = run.jobs ?? [];
  const nodes = useMemo(() => nodesOf(jobs), [jobs]);
  const grids = useMemo(() => nodes.flatMap((node) => {
    const grid = gridOf(node.legs);
    return grid ? [{ node, grid }] : [];
  }), [nodes]);
  const views = VIEWS.filter((each) => each !== 'matrix' || grids.length > 0);
  const shown = views.includes(view) ? view : 'graph';
  return (
    <>
      <section className="card" aria-label="Jobs">
        <div className="card-head">
          <div className="quick" role="group" aria-label="View of the jobs">
            {views.map((each) => (
              <button
                key={each}
                type="button"
                className="quick-choice"
                aria-pressed={each === shown}
                onClick={() => void navigate({ to: '/runs/$run', params: { run: String(run.id) }, search: each === 'graph' ? {} : { view: each }, replace: true, resetScroll: false })}
              >
                {LABELS[each]}
              </button>
            ))}
          </div>
          <span className="grow" />
          <span className="muted hide-narrow">
            {jobs.length} {jobs.length === 1 ? 'job' : 'jobs'}
          </span>
        </div>
        {jobs.length === 0 ? (
          <Empty title="No jobs">The document was planned, and no job of it applies.</Empty>
        ) : shown === 'graph' ? (
          <Suspense fallback={<Loading what="Drawing" />}>
            <GraphView nodes={nodes} />
          </Suspense>
        ) : shown === 'matrix' ? (
          <MatrixView grids={grids} />
        ) : (
          <TimelineView jobs={jobs} by={shown === 'runners' ? 'runner' : 'job'} over={run.status === 'completed'} />
        )}
      </section>
      <Leavings run={run} />
    </>
  );
}
