/** Starting a run: a workflow of a known repository, with a form made of its inputs. */
import { useMutation, useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { answer, api } from '../../api/client';
import type { RepositoryView, WorkflowView } from '../../api/types';
import { Dialog } from '../../ui/Dialog';
import { Empty, Failed, Loading } from '../../ui/states';
import { InputFields, valuesOf } from './InputFields';

/** The dialog; it is there while it is open. */
export default function NewRunDialog({ onClose }: { onClose: () => void }) {
  const repositories = useQuery({
    queryKey: ['repos'],
    queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/repos', { signal }))).items,
  });
  const [chosen, setChosen] = useState<number | null>(null);
  const repository = repositories.data?.find((each) => each.id === chosen) ?? repositories.data?.[0];
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()} title="New run" size="wide">
      {repositories.isPending ? (
        <Loading what="Loading repositories" />
      ) : repositories.isError ? (
        <Failed error={repositories.error} retry={() => void repositories.refetch()} />
      ) : !repository ? (
        <Empty
          title="No repository is known yet"
          commands={['# let the server know a repository; its workflows appear here', 'fleetfoot repo add OWNER/NAME --forge github', '', '# or submit a file right away', 'fleetfoot submit .github/workflows/ci.yml --input name=value']}
        />
      ) : (
        <>
          <div className="field">
            <label htmlFor="repository">Repository</label>
            <select id="repository" className="input" value={repository.id} onChange={(event) => setChosen(Number(event.target.value))}>
              {repositories.data.map((each) => (
                <option key={each.id} value={each.id}>
                  {each.name}
                </option>
              ))}
            </select>
          </div>
          <Workflows key={repository.id} repository={repository} onClose={onClose} />
        </>
      )}
    </Dialog>
  );
}

function Workflows({ repository, onClose }: { repository: RepositoryView; onClose: () => void }) {
  const [ref, setRef] = useState('');
  const [asked, setAsked] = useState('');
  const [path, setPath] = useState('');
  const list = useQuery({
    queryKey: ['repos', repository.id, 'workflows', asked],
    queryFn: async ({ signal }) =>
      answer(api.GET('/api/v1/repos/{id}/workflows', { params: { path: { id: repository.id }, query: asked ? { ref: asked } : {} }, signal })),
  });
  const workflows = list.data?.workflows ?? [];
  const startable = workflows.filter((each) => each.dispatch && !each.error);
  const workflow = startable.find((each) => each.path === path) ?? startable[0];
  return (
    <>
      <form
        className="field"
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(ref.trim());
        }}
      >
        <label htmlFor="ref">Branch or tag</label>
        <input id="ref" className="input" value={ref} placeholder={repository.default_branch ?? 'default branch'} onChange={(event) => setRef(event.target.value)} onBlur={() => setAsked(ref.trim())} autoComplete="off" spellCheck={false} />
      </form>
      {list.isPending ? (
        <Loading what="Reading the workflows of the repository" />
      ) : list.isError ? (
        <Failed error={list.error} retry={() => void list.refetch()} />
      ) : !workflow ? (
        <Empty title="No workflow here can be started by hand" commands={['on:', '  workflow_dispatch:']}>
          {workflows.length === 0 ? 'There are no workflow files at this commit.' : `A workflow says so with workflow_dispatch. Found: ${workflows.map((each) => each.name).join(', ')}.`}
        </Empty>
      ) : (
        <>
          <div className="field">
            <label htmlFor="workflow">Workflow</label>
            <select id="workflow" className="input" value={workflow.path} onChange={(event) => setPath(event.target.value)}>
              {startable.map((each) => (
                <option key={each.path} value={each.path}>
                  {each.name} ({each.path})
                </option>
              ))}
            </select>
          </div>
          <Start key={workflow.path} repository={repository} workflow={workflow} gitRef={asked} onClose={onClose} />
        </>
      )}
    </>
  );
}

function Start({ repository, workflow, gitRef, onClose }: { repository: RepositoryView; workflow: WorkflowView; gitRef: string; onClose: () => void }) {
  const navigate = useNavigate();
  const start = useMutation({
    mutationFn: (inputs: Record<string, unknown>) =>
      answer(api.POST('/api/v1/repos/{id}/dispatch', {
        params: { path: { id: repository.id } },
        body: { workflow: workflow.path, ref: gitRef === '' ? null : gitRef, inputs },
      })),
    onSuccess: ({ run }) => {
      onClose();
      void navigate({ to: '/runs/$run', params: { run: String(run) } });
    },
  });
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        start.mutate(valuesOf(workflow.inputs, new FormData(event.currentTarget)));
      }}
    >
      <InputFields inputs={workflow.inputs} />
      {start.isError && <Failed error={start.error} />}
      <div className="dialog-actions">
        <button type="button" className="button" onClick={onClose}>
          Close
        </button>
        <button type="submit" className="button primary" disabled={start.isPending}>
          {start.isPending ? 'Starting…' : 'Start run'}
        </button>
      </div>
    </form>
  );
}
