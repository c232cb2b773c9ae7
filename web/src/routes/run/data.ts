/** A run as data: read once, then kept true by its stream of events. */
import { queryOptions, useMutation, useQuery, useQueryClient, type QueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import { answer, api } from '../../api/client';
import type { ApprovalView, JobView, RunReport, RunView, Why } from '../../api/types';
import { follow } from '../../live/events';
import { awaiting, standing, type Standing } from '../../ui/Status';
import { complain, say } from '../../ui/toasts';
import { withChange } from './merge';

const path = (id: number) => ({ params: { path: { id } } });

// The typed client forgets that the pairs in `summaries` are pairs: hence the casts below.

/** One run with its jobs. */
export function runQuery(id: number) {
  return queryOptions({
    queryKey: ['run', id],
    queryFn: async ({ signal }): Promise<RunView> => (await answer(api.GET('/api/v1/runs/{id}', { ...path(id), signal }))) as RunView,
  });
}

/** One job with its attempts. */
export function jobQuery(id: number) {
  return queryOptions({
    queryKey: ['job', id],
    queryFn: async ({ signal }): Promise<JobView> => (await answer(api.GET('/api/v1/jobs/{id}', { ...path(id), signal }))) as JobView,
  });
}

/** Why a job waits. The answer changes with the fleet, so it is asked again and again. */
export function whyQuery(id: number) {
  return queryOptions({
    queryKey: ['why', id],
    queryFn: async ({ signal }): Promise<Why> => answer(api.GET('/api/v1/jobs/{id}/why', { ...path(id), signal })),
    refetchInterval: 3_000,
    staleTime: 0,
  });
}

/** Annotations and summaries of all jobs of a run. */
export function reportQuery(id: number) {
  return queryOptions({
    queryKey: ['run', id, 'report'],
    queryFn: async ({ signal }): Promise<RunReport> => answer(api.GET('/api/v1/runs/{id}/report', { ...path(id), signal })),
  });
}

/** Artifacts of a run. */
export function artifactsQuery(id: number) {
  return queryOptions({
    queryKey: ['run', id, 'artifacts'],
    queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/runs/{id}/artifacts', { ...path(id), signal }))).artifacts,
  });
}

/** What of a run waits for approval. */
export function approvalsQuery(id: number) {
  return queryOptions({
    queryKey: ['run', id, 'approvals'],
    queryFn: async ({ signal }): Promise<ApprovalView[]> =>
      (await answer(api.GET('/api/v1/approvals', { params: { query: { run: id, state: 'pending' } }, signal }))).items,
  });
}

/** How a run stands. Nothing of it runs while all that is left waits for approval, whatever its status. */
export function useRunStanding(run: RunView | undefined): Standing | undefined {
  const idle = run !== undefined && (run.status === 'queued' || run.status === 'waiting') && !run.cancel_requested;
  const { data } = useQuery({ ...approvalsQuery(run?.id ?? 0), enabled: idle });
  if (run === undefined) return undefined;
  return idle && data !== undefined && data.length > 0 ? awaiting(standing(run)) : standing(run);
}

/** The newest attempts of a run: the run itself, those it repeats, and those that repeat it. */
export function attemptsQuery(id: number) {
  return queryOptions({
    queryKey: ['run', id, 'attempts'],
    queryFn: async ({ signal }): Promise<RunView[]> =>
      (await answer(api.GET('/api/v1/runs/{id}/attempts', { ...path(id), signal }))).items as RunView[],
  });
}

/** A run, live while the calling component is shown. */
export function useRun(id: number) {
  const queries = useQueryClient();
  const result = useQuery(runQuery(id));
  const gone = result.isError;
  const over = result.data?.status === 'completed';
  useEffect(() => {
    // A run that ended can only be deleted; the list's feed tells that.
    if (gone || over) return undefined;
    return follow(`/api/v1/runs/${id}/events`, {
      on: { run: (data) => take(queries, id, data as RunView) },
      last: ['end'],
      // Asked once more, the server says that it is gone.
      refused: (error) => {
        if (error.status === 404) void queries.invalidateQueries({ queryKey: runQuery(id).queryKey });
      },
    });
  }, [queries, id, gone, over]);
  return result;
}

function take(queries: QueryClient, id: number, change: RunView): void {
  queries.setQueryData<RunView>(runQuery(id).queryKey, (run) => withChange(run, change));
  const jobs = change.jobs ?? [];
  for (const job of jobs) void queries.invalidateQueries({ queryKey: ['job', job.id] });
  if (jobs.some((job) => job.status === 'completed')) {
    void queries.invalidateQueries({ queryKey: reportQuery(id).queryKey });
    void queries.invalidateQueries({ queryKey: artifactsQuery(id).queryKey });
  }
  void queries.invalidateQueries({ queryKey: approvalsQuery(id).queryKey });
}

/** What a person can do to a run or a job. Each says what became of it. */
export function useSteering(run: RunView) {
  const queries = useQueryClient();
  const again = (): void => {
    void queries.invalidateQueries({ queryKey: ['run', run.id] });
    void queries.invalidateQueries({ queryKey: ['runs'] });
  };
  const cancel = useMutation({
    mutationFn: () => answer(api.POST('/api/v1/runs/{id}/cancel', { ...path(run.id), body: { message: null } })),
    onSuccess: () => say('Cancelling the run', 'Running steps are asked to end first.'),
    onError: (error) => complain(error, 'Cancelling'),
    onSettled: again,
  });
  const cancelJob = useMutation({
    mutationFn: (job: number) => answer(api.POST('/api/v1/jobs/{id}/cancel', { ...path(job), body: { message: null } })),
    onSuccess: () => say('Cancelling the job'),
    onError: (error) => complain(error, 'Cancelling'),
    onSettled: again,
  });
  const rerun = useMutation({
    mutationFn: (how: { failed_only?: boolean; debug?: boolean }) =>
      answer(api.POST('/api/v1/runs/{id}/rerun', { ...path(run.id), body: { failed_only: false, debug: false, ...how } })),
    onError: (error) => complain(error, 'Running it again'),
    onSettled: again,
  });
  const review = useMutation({
    mutationFn: ({ approval, verdict, comment }: { approval: ApprovalView; verdict: 'approve' | 'reject'; comment: string }) => {
      const body = { comment: comment === '' ? null : comment };
      if (approval.job != null) {
        return verdict === 'approve'
          ? answer<unknown>(api.POST('/api/v1/jobs/{id}/approve', { ...path(approval.job), body }))
          : answer<unknown>(api.POST('/api/v1/jobs/{id}/reject', { ...path(approval.job), body }));
      }
      return verdict === 'approve'
        ? answer<unknown>(api.POST('/api/v1/runs/{id}/approve', { ...path(run.id), body }))
        : answer<unknown>(api.POST('/api/v1/runs/{id}/reject', { ...path(run.id), body }));
    },
    onSuccess: (_, { verdict }) => say(verdict === 'approve' ? 'Approved' : 'Rejected'),
    onError: (error, { verdict }) => complain(error, verdict === 'approve' ? 'Approving' : 'Rejecting'),
    onSettled: again,
  });
  return { cancel, cancelJob, rerun, review };
}
