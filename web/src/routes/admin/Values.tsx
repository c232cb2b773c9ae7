/** Secrets, which can be written and not read, and variables; of everything, a project or an environment. */
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { answer, api } from '../../api/client';
import type { SecretView, VariableView } from '../../api/schema.gen';
import { DataTable, type Column } from '../../ui/DataTable';
import { Area, Field, FormDialog, texts } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { Empty } from '../../ui/states';
import { Ago } from '../../ui/Time';
import { Fetched, Matter, Remove } from './parts';

/** Where values belong: a project, one of its environments, or (neither) everything. */
interface Scope {
  readonly project?: string | undefined;
  readonly environment?: string | undefined;
}

type Asked = { kind: 'secret' | 'variable'; name?: string; value?: string };

function query(scope: Scope): { project?: string; environment?: string } {
  return {
    ...(scope.project ? { project: scope.project } : {}),
    ...(scope.environment ? { environment: scope.environment } : {}),
  };
}

function words(scope: Scope): string {
  if (scope.environment) return `environment ${scope.environment} of ${scope.project ?? 'default'}`;
  return scope.project ? `project ${scope.project}` : 'all projects';
}

/** The page. */
export function Values() {
  const scope: Scope = useSearch({ from: '/inside/admin/values' });
  const navigate = useNavigate();
  const [asked, setAsked] = useState<Asked | null>(null);
  const secrets = useQuery({
    queryKey: ['secrets', scope],
    queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/secrets', { params: { query: query(scope) }, signal }))).items,
  });
  const variables = useQuery({
    queryKey: ['variables', scope],
    queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/variables', { params: { query: query(scope) }, signal }))).items,
  });
  return (
    <>
      <Matter
        title="Secrets and variables"
        intro="The narrower scope wins: environment over project over all projects. The value of a secret is never shown again."
      >
        <ScopeForm key={words(scope)} scope={scope} onChange={(next) => void navigate({ to: '/admin/values', search: next })} />
      </Matter>
      <section className="stack" aria-labelledby="secrets">
        <Head id="secrets" title={`Secrets of ${words(scope)}`} action="Set a secret" onAct={() => setAsked({ kind: 'secret' })} />
        <Fetched query={secrets}>
          {(rows) => (
            <DataTable label="Secrets" columns={secretColumns(setAsked)} rows={rows} id={keyOf}
              empty={<Empty title="No secrets here" commands={['fleetfoot secret set NAME < file']} />} />
          )}
        </Fetched>
      </section>
      <section className="stack" aria-labelledby="variables">
        <Head id="variables" title={`Variables of ${words(scope)}`} action="Set a variable" onAct={() => setAsked({ kind: 'variable' })} />
        <Fetched query={variables}>
          {(rows) => (
            <DataTable label="Variables" columns={variableColumns(setAsked)} rows={rows} id={keyOf}
              empty={<Empty title="No variables here" commands={['fleetfoot variable set NAME VALUE']} />} />
          )}
        </Fetched>
      </section>
      {asked && <SetValue asked={asked} scope={scope} onClose={() => setAsked(null)} />}
    </>
  );
}

function keyOf(value: SecretView | VariableView): string {
  return `${value.scope}/${value.project ?? ''}/${value.environment ?? ''}/${value.name}`;
}

function Head({ id, title, action, onAct }: { id: string; title: string; action: string; onAct: () => void }) {
  return (
    <div className="row wrap">
      <h2 id={id} className="grow">{title}</h2>
      <button type="button" className="button" onClick={onAct}>
        <Icon name="plus" /> {action}
      </button>
    </div>
  );
}

function ScopeForm({ scope, onChange }: { scope: Scope; onChange: (scope: Scope) => void }) {
  return (
    <form
      className="form-row card"
      onSubmit={(event) => {
        event.preventDefault();
        const text = texts(event.currentTarget);
        onChange({ project: text('project') ?? (text('environment') ? 'default' : undefined), environment: text('environment') });
      }}
    >
      <Field label="Project" name="project" defaultValue={scope.project} placeholder="all projects" />
      <Field label="Environment" name="environment" defaultValue={scope.environment} placeholder="none" />
      <button type="submit" className="button">
        Show
      </button>
    </form>
  );
}

function common<Row extends SecretView | VariableView>(): readonly Column<Row>[] {
  return [
    { head: 'Scope', cell: (row) => row.environment ?? row.project ?? 'all', wide: true },
    { head: 'Changed', cell: (row) => <Ago at={row.updated_at} />, wide: true },
    { head: 'By', cell: (row) => row.updated_by, wide: true },
  ];
}

function Change({ name, onAct }: { name: string; onAct: () => void }) {
  return (
    <button type="button" className="button ghost small" aria-label={`Change ${name}`} onClick={onAct}>
      Change
    </button>
  );
}

function pathOf(row: SecretView | VariableView) {
  return {
    params: {
      path: { name: row.name },
      query: query({ project: row.project ?? undefined, environment: row.environment ?? undefined }),
    },
  };
}

function secretColumns(ask: (asked: Asked) => void): readonly Column<SecretView>[] {
  return [
    { head: 'Name', cell: (row) => <code>{row.name}</code> },
    ...common<SecretView>(),
    {
      head: '',
      cell: (row) => (
        <span className="row">
          <Change name={row.name} onAct={() => ask({ kind: 'secret', name: row.name })} />
          <Remove what={`secret ${row.name}`} consequence="Jobs that need it get an empty value from now on." keys={['secrets']}
            work={() => answer(api.DELETE('/api/v1/secrets/{name}', pathOf(row)))} />
        </span>
      ),
    },
  ];
}

function variableColumns(ask: (asked: Asked) => void): readonly Column<VariableView>[] {
  return [
    { head: 'Name', cell: (row) => <code>{row.name}</code> },
    { head: 'Value', cell: (row) => <code className="cut">{row.value}</code> },
    ...common<VariableView>(),
    {
      head: '',
      cell: (row) => (
        <span className="row">
          <Change name={row.name} onAct={() => ask({ kind: 'variable', name: row.name, value: row.value })} />
          <Remove what={`variable ${row.name}`} consequence="Jobs that need it get an empty value from now on." keys={['variables']}
            work={() => answer(api.DELETE('/api/v1/variables/{name}', pathOf(row)))} />
        </span>
      ),
    },
  ];
}

function SetValue({ asked, scope, onClose }: { asked: Asked; scope: Scope; onClose: () => void }) {
  const queries = useQueryClient();
  const secret = asked.kind === 'secret';
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const name = asked.name ?? texts(form)('name') ?? '';
    // Not trimmed: blanks at the ends may belong to a value.
    const value = String(new FormData(form).get('value') ?? '');
    const request = { params: { path: { name }, query: query(scope) }, body: { value } };
    if (secret) await answer(api.PUT('/api/v1/secrets/{name}', request));
    else await answer(api.PUT('/api/v1/variables/{name}', request));
    await queries.invalidateQueries({ queryKey: [secret ? 'secrets' : 'variables'] });
  };
  return (
    <FormDialog
      title={asked.name ? `Change ${asked.name}` : `Set a ${asked.kind}`}
      description={`For ${words(scope)}.${secret ? ' The value is sealed, masked in logs, and never shown again.' : ''}`}
      action="Save"
      onClose={onClose}
      submit={submit}
    >
      {!asked.name && <Field label="Name" name="name" required pattern="[A-Za-z_][A-Za-z0-9_]*" placeholder="DEPLOY_KEY" help="Letters, digits and _." />}
      <Area label="Value" name="value" rows={4} {...(asked.value === undefined ? {} : { defaultValue: asked.value })} />
    </FormDialog>
  );
}
