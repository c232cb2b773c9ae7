/** What the pages of administration share: the head of a matter, a fetched body, the question before removing. */
import { useQueryClient, type UseQueryResult } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { usePageTitle } from '../../lib/title';
import { FormDialog } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { Failed, Loading } from '../../ui/states';
import { complain, say } from '../../ui/toasts';

/** A matter: its name, what it is for, and what can be done. */
export function Matter(props: { title: string; intro?: ReactNode; action?: ReactNode; children: ReactNode }) {
  usePageTitle(props.title);
  return (
    <section className="stack">
      <div className="row wrap">
        <div className="grow">
          <h1>{props.title}</h1>
          {props.intro && <p className="muted admin-intro">{props.intro}</p>}
        </div>
        {props.action}
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

/** Does something at the server, says so, and makes what depends on it fresh. */
export function useDo(): (what: string, work: () => Promise<unknown>, done: string, keys: readonly string[]) => Promise<void> {
  const queries = useQueryClient();
  return async (what, work, done, keys) => {
    try {
      await work();
      say(done);
    } catch (error) {
      complain(error, what);
    }
    await Promise.all(keys.map((key) => queries.invalidateQueries({ queryKey: [key] })));
  };
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

/** Something that is shown once, with a button that copies it. */
export function Once({ text, label }: { text: string; label: string }) {
  const copy = (): void => {
    navigator.clipboard.writeText(text).then(
      () => say('Copied'),
      () => complain(new Error('The browser does not let this page copy. Select the text instead.')),
    );
  };
  return (
    <div className="row">
      <code className="secret-once grow" aria-label={label}>
        {text}
      </code>
      <button type="button" className="button" onClick={copy}>
        <Icon name="copy" /> Copy
      </button>
    </div>
  );
}
