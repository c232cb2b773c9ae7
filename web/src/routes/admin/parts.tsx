/** What the pages of administration share: the head of a matter, a fetched body, the question before removing. */
import { useQueryClient, type UseQueryResult } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { usePageTitle } from '../../lib/title';
import { FormDialog } from '../../ui/form';
import { Failed, Loading } from '../../ui/states';
import { say } from '../../ui/toasts';

/** A matter: its name, what it is for, and what can be done. */
export function Matter(props: { title: string; intro?: ReactNode; action?: ReactNode; children: ReactNode }) {
  usePageTitle(props.title);
  return (
    <section className="stack">
      <div className="admin-head">
        <h1 className="grow">{props.title}</h1>
        {props.action}
        {props.intro && <p className="muted admin-intro">{props.intro}</p>}
      </div>
      {props.children}
    </section>
  );
}

/** The answer of a query, or that it is on its way, or what went wrong. */
export function Fetched<T>({ query, children }: { query: UseQueryResult<T>; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  return query.isError ? <Failed error={query.error} retry={() => void query.refetch()} /> : <Loading />;
}

/** A button that removes something after asking. */
export function Remove(props: { what: string; consequence: ReactNode; verb?: string; keys: readonly string[]; work: () => Promise<unknown> }) {
  const [asking, setAsking] = useState(false);
  const queries = useQueryClient();
  const verb = props.verb ?? 'Remove';
  return (
    <>
      <button type="button" className="button ghost small danger" aria-label={`${verb} ${props.what}`} onClick={() => setAsking(true)}>
        {verb}
      </button>
      {asking && (
        <FormDialog
          title={`${verb} ${props.what}?`}
          description={props.consequence}
          action={verb}
          danger
          onClose={() => setAsking(false)}
          submit={async () => {
            await props.work();
            say(`${verb === 'Remove' ? 'Removed' : 'Done'}: ${props.what}`);
            await Promise.all(props.keys.map((key) => queries.invalidateQueries({ queryKey: [key] })));
          }}
        />
      )}
    </>
  );
}
