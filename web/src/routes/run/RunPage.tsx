/** A run: its header and its jobs at the side; what the address names in the middle. */
import { getRouteApi, Link, Outlet, useParams } from '@tanstack/react-router';
import { useEffect } from 'react';
import { useQueryClient } from '@tanstack/react-query';
import { asApiError } from '../../api/problem';
import { useFeed } from '../../live/feed';
import { usePageTitle } from '../../lib/title';
import { Empty, Failed, Loading } from '../../ui/states';
import { Approvals } from './Approvals';
import { artifactsQuery, approvalsQuery, attemptsQuery, reportQuery, useRun, useRunStanding } from './data';
import { JobList } from './JobList';
import { RunHeader } from './RunHeader';
import './run.css';

const page = getRouteApi('/inside/runs/$run');

/** The page. */
export function RunPage() {
  const id = Number(page.useParams().run);
  const { job } = useParams({ strict: false });
  const queries = useQueryClient();
  const { data: run, isPending, isError, error, refetch } = useRun(id);
  // A run that is gone must not be shown as if it were there, nor in a row of tabs.
  const gone = isError && asApiError(error).status === 404;
  const shown = gone ? undefined : run;
  const is = useRunStanding(shown);
  usePageTitle(shown && is ? `${is.word}: ${shown.title} #${shown.number}` : 'Run', is?.page ?? 'idle');

  useFeed((change) => {
    if (change.change === 'run_deleted' && change.id === id) void queries.invalidateQueries({ queryKey: ['run', id] });
    // Perhaps a further attempt of this run.
    if (change.change === 'run' && change.run.id !== id && change.run.number === run?.number && change.run.name === run.name) {
      void queries.invalidateQueries({ queryKey: attemptsQuery(id).queryKey });
    }
    if (change.change === 'approvals') void queries.invalidateQueries({ queryKey: approvalsQuery(id).queryKey });
    // Anything may have been missed: the run, its attempts, its approvals.
    if (change.change === 'reset') void queries.invalidateQueries({ queryKey: ['run', id] });
  });
  const status = run?.status;
  useEffect(() => {
    if (status !== 'completed') return;
    void queries.invalidateQueries({ queryKey: reportQuery(id).queryKey });
    void queries.invalidateQueries({ queryKey: artifactsQuery(id).queryKey });
  }, [queries, id, status]);

  if (gone) return <Gone seen={run !== undefined} />;
  if (!run || !is) {
    return (
      <div className="page">
        {isPending ? <Loading what="Loading the run" /> : <Failed error={error} retry={() => void refetch()} />}
      </div>
    );
  }
  return (
    <div className="page run-page">
      <RunHeader run={run} is={is} />
      <Approvals run={run} />
      <div className={job === undefined ? 'run-layout' : 'run-layout with-job'}>
        <JobList run={run} current={job === undefined ? null : Number(job)} />
        <div className="run-main">
          <Outlet />
        </div>
      </div>
    </div>
  );
}

function Gone({ seen }: { seen: boolean }) {
  return (
    <div className="page">
      <Empty title={seen ? 'This run was deleted' : 'This run does not exist'} commands={['fleetfoot list']}>
        {seen ? 'It is gone, with its logs.' : 'It was deleted, or it never was.'} Completed runs are kept as long as the server's
        retention says. <Link to="/runs">Go to the runs</Link>.
      </Empty>
    </div>
  );
}
