/** A log on a page of its own: `/jobs/7/log`, with nothing around it but its name and the way back. */
import { useQuery } from '@tanstack/react-query';
import { Link, useParams, useSearch } from '@tanstack/react-router';
import { send } from '../api/client';
import type { JobView } from '../api/types';
import { usePageTitle } from '../lib/title';
import { Failed, Loading } from '../ui/states';
import { standing } from '../ui/Status';
import { LogView } from './LogView';

/** The page. */
export function LogPage() {
  const { job: id } = useParams({ strict: false });
  const { attempt } = useSearch({ strict: false }) as { attempt?: number };
  const number = Number(id);
  const job = useQuery({
    queryKey: ['log-job', number],
    queryFn: async () => (await (await send(`/api/v1/jobs/${number}`)).json()) as JobView,
    refetchInterval: (query) => (query.state.data?.status === 'completed' || query.state.error !== null ? false : 3_000),
  });
  const is = job.data === undefined ? undefined : standing(job.data);
  usePageTitle(is === undefined ? 'Log' : `${is.word}: log of ${job.data?.name ?? ''}`, is?.page ?? 'idle');
  if (job.data === undefined) {
    return (
      <main className="page">{job.error === null ? <Loading what="Opening the job" /> : <Failed error={job.error} retry={() => void job.refetch()} />}</main>
    );
  }
  const failed = job.data.steps?.find((step) => step.conclusion === 'failure' || step.conclusion === 'timed_out');
  return (
    <main className="log-page">
      <div className="page-head">
        <h1 className="cut">{job.data.name}</h1>
        <Link to={`/runs/${job.data.run}` as '/'} className="muted">
          Run {job.data.run}
        </Link>
      </div>
      <LogView
        jobId={number}
        {...(attempt === undefined ? {} : { attempt })}
        {...(failed === undefined ? {} : { failedStep: failed.index })}
        steps={job.data.steps ?? []}
      />
    </main>
  );
}
