/** Environments: where jobs deploy to, and the rules that hold jobs back. */
import { queryOptions, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answer, api } from '../../api/client';
import type { EnvironmentRules, EnvironmentView } from '../../api/schema.gen';
import { DataTable, type Column } from '../../ui/DataTable';
import { Area, Check, Field, FormDialog, texts } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { Empty } from '../../ui/states';
import { Ago } from '../../ui/Time';
import { Fetched, Matter, Remove } from './parts';

const environmentsQuery = queryOptions({
  queryKey: ['environments'],
  queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/environments', { signal }))).items,
});

/** The page. */
export function Environments() {
  const environments = useQuery(environmentsQuery);
  const [asked, setAsked] = useState<EnvironmentView | 'new' | null>(null);
  const columns: readonly Column<EnvironmentView>[] = [
    { head: 'Name', cell: (row) => <strong>{row.name}</strong> },
    { head: 'Project', cell: (row) => row.project },
    { head: 'Reviewers', cell: (row) => row.rules.reviewers?.join(', ') || <span className="muted">nobody has to approve</span> },
    { head: 'Waits', cell: (row) => (row.rules.wait_minutes ? `${row.rules.wait_minutes} min` : <span className="muted">not</span>), wide: true },
    { head: 'Refs', cell: (row) => row.rules.branches?.join(', ') || <span className="muted">all</span>, wide: true },
    { head: 'Changed', cell: (row) => <Ago at={row.updated_at} />, wide: true },
    {
      head: '',
      cell: (row) => (
        <span className="row">
          <button type="button" className="button ghost small" aria-label={`Change ${row.name}`} onClick={() => setAsked(row)}>
            Change
          </button>
          <Remove
            what={`environment ${row.name}`}
            consequence="Its secrets and variables go with it, and its rules hold nobody back any more."
            keys={['environments']}
            work={() => answer(api.DELETE('/api/v1/environments/{name}', { params: { path: { name: row.name }, query: { project: row.project } } }))}
          />
        </span>
      ),
    },
  ];
  return (
    <Matter
      title="Environments"
      intro="A job that names one with environment: gets its secrets and variables, and waits for its rules."
      action={
        <button type="button" className="button primary" onClick={() => setAsked('new')}>
          <Icon name="plus" /> Create an environment
        </button>
      }
    >
      <Fetched query={environments}>
        {(rows) => (
          <DataTable label="Environments" columns={columns} rows={rows} id={(row) => `${row.project}/${row.name}`}
            empty={<Empty title="No environments" commands={['fleetfoot environment create production --reviewer ada --wait 10']} />} />
        )}
      </Fetched>
      {asked && <Edit of={asked === 'new' ? null : asked} onClose={() => setAsked(null)} />}
    </Matter>
  );
}

function lines(text: string | undefined): string[] {
  return (text ?? '').split(/[\n,]/).map((line) => line.trim()).filter(Boolean);
}

function Edit({ of, onClose }: { of: EnvironmentView | null; onClose: () => void }) {
  const queries = useQueryClient();
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const text = texts(form);
    const rules: Required<EnvironmentRules> = {
      reviewers: lines(text('reviewers')),
      branches: lines(text('branches')),
      wait_minutes: Number(text('wait') ?? 0),
      prevent_self_review: new FormData(form).get('self') !== null,
    };
    if (of) {
      const params = { path: { name: of.name }, query: { project: of.project } };
      await answer(api.PATCH('/api/v1/environments/{name}', { params, body: rules }));
    } else {
      const body = { name: text('name') ?? '', project: text('project') ?? 'default', rules };
      await answer(api.POST('/api/v1/environments', { body }));
    }
    await queries.invalidateQueries({ queryKey: ['environments'] });
  };
  const rules = of?.rules;
  return (
    <FormDialog title={of ? `Rules of ${of.name}` : 'Create an environment'} action="Save" onClose={onClose} submit={submit}>
      {!of && <Field label="Name" name="name" required placeholder="production" />}
      {!of && <Field label="Project" name="project" placeholder="default" />}
      <Area label="Reviewers" name="reviewers" rows={2} defaultValue={rules?.reviewers?.join('\n') ?? ''} help="Users or names of tokens, one in each line; one of them has to approve." />
      <Check label="Whoever caused the run may not approve its jobs" name="self" defaultChecked={rules?.prevent_self_review ?? false} />
      <Field label="Wait before the start, in minutes" name="wait" type="number" min={0} max={43200} defaultValue={rules?.wait_minutes ?? 0} />
      <Area label="Branches and tags" name="branches" rows={2} defaultValue={rules?.branches?.join('\n') ?? ''} help="Patterns such as main, release/** or refs/tags/v*; empty lets every ref in." />
    </FormDialog>
  );
}
