/** How a change of a run, which names only the jobs that changed, goes into what is known. Pure. */
import type { JobView, RunView } from '../../api/types';

/** The run after a change. Versions older than what is known change nothing. */
export function withChange(run: RunView | undefined, change: RunView): RunView | undefined {
  if (!run) return change.jobs ? change : undefined;
  const changed = new Map<number, JobView>((change.jobs ?? []).map((job) => [job.id, job]));
  const jobs = (run.jobs ?? []).map((job) => {
    const next = changed.get(job.id);
    changed.delete(job.id);
    return next && next.change >= job.change ? next : job;
  });
  jobs.push(...changed.values());
  return change.change >= run.change ? { ...run, ...change, jobs } : { ...run, jobs };
}
