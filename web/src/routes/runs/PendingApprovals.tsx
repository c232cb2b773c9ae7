/** What waits for somebody's word, above the list of runs. */
import { queryOptions, useQuery, useQueryClient } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import { answer, api } from '../../api/client';
import { useFeed } from '../../live/feed';
import { Icon } from '../../ui/Icon';
import { Ago } from '../../ui/Time';

const MOST = 5;

/** Approvals that are pending. */
export const pendingQuery = queryOptions({
  queryKey: ['approvals', 'pending'],
  queryFn: async ({ signal }) => answer(api.GET('/api/v1/approvals', { params: { query: { state: 'pending', limit: MOST } }, signal })),
  staleTime: 30_000,
});

/** A box with the approvals that wait longest; nothing if none does. */
export function PendingApprovals() {
  const queries = useQueryClient();
  const { data } = useQuery(pendingQuery);
  useFeed((change) => {
    if (change.change === 'approvals' || change.change === 'reset') void queries.invalidateQueries({ queryKey: pendingQuery.queryKey });
  });
  const items = data?.items ?? [];
  if (items.length === 0) return null;
  return (
    <section className="note wait pending" aria-label="Waiting for approval">
      <Icon name="pause" className="tone-wait" />
      <ul className="grow">
        {items.map((approval) => (
          <li key={approval.id} className="row wrap">
            <Link to="/runs/$run" params={{ run: String(approval.run) }}>
              Run {approval.run}
              {approval.job_name && `, ${approval.job_name}`}
            </Link>
            <span>
              waits for approval
              {approval.environment && ` to use ${approval.environment}`} in {approval.project}, since <Ago at={approval.created_at} />
            </span>
          </li>
        ))}
      </ul>
      {data?.next_cursor && <span className="muted">and more</span>}
    </section>
  );
}
